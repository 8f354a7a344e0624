package mollymawk

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/gate"
)

// blockUnit is what albatross sizes block devices in, in bytes.
const blockUnit = 1 << 20

const (
	bodyBlock = "block_name"
	bodyLevel = "compression_level"
)

// download checks what a download asks for. Mollymawk says 200 before it looks at the
// names, and ends if they are wrong; it corrupts what it compresses, or ends; and level
// 10 ends albatross for the whole host. So the backend is asked for level 0 and the gate
// compresses, and an instance that Mollymawk may not know is asked for first.
func download(call *gate.Call) error {
	members, ok := parseObject(call.Body)
	if !ok {
		return invalid("Send a JSON object with albatross_instance, block_name and compression_level.")
	}
	for _, name := range []string{bodyInstance, bodyBlock} {
		text, ok := members.text(name)
		if !ok {
			return invalid("The JSON lacks the text %q.", name)
		}
		if err := checkLabel(name, text); err != nil {
			return err
		}
	}
	level, err := members.level()
	if err != nil {
		return err
	}
	members = append(members.without(bodyLevel), member{bodyLevel, jsontext.Value("0")})
	instance, _ := members.text(bodyInstance)
	call.Body = members.append(nil)
	call.Response = gate.ResponseForm{Unit: blockUnit, Compress: level}
	call.Probe = knowsInstance(instance)
	return nil
}

// level returns the level of compression that a download asks for; none is 0.
func (o object) level() (int, error) {
	i := o.index(bodyLevel)
	if i < 0 {
		return 0, nil
	}
	level, err := strconv.Atoi(string(o[i].value))
	if err != nil || level < 0 || level > 9 {
		return 0, invalid("compression_level is a whole number from 0 to 9.")
	}
	return level, nil
}

// knowsInstance asks for the console of a unikernel whose name is no label: Mollymawk
// answers 404 if it doesn't know the instance, and 400 because of the name if it does. It
// also says 400 to a credential that it refuses, and then to the download, too.
func knowsInstance(name string) *gate.Probe {
	return &gate.Probe{
		Path:  "/api/unikernel/console",
		Query: queryInstance + "=" + url.QueryEscape(name) + "&" + queryUnikernel + "=-",
		Judge: func(status int, body []byte) (gate.Refusal, bool) {
			switch {
			case status == http.StatusNotFound:
				refusal := gate.Refuse(gate.BackendError)
				refusal.Status, refusal.BackendCode = status, notFound
				refusal.Detail = "Mollymawk knows no albatross instance " + name + "."
				return refusal, false
			case status == http.StatusBadRequest:
				return gate.Refusal{}, !credentialRefused(status, body)
			case status < http.StatusInternalServerError:
				return gate.Refusal{}, false
			}
			return gate.Refuse(gate.BackendError), false
		},
	}
}

// checkLabel checks a name by albatross's rule for labels.
func checkLabel(member, name string) error {
	if n := len(name); n < 1 || n > 63 || name[0] == '-' || strings.Trim(name, labelCharacters) != "" {
		return invalid("%s %.70q is no name: use 1 to 63 letters, digits, dots and dashes, not beginning with a dash.",
			member, name)
	}
	return nil
}

const labelCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-."
