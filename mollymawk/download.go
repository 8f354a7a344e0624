package mollymawk

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/gate"
)

// blockUnit is the unit in which albatross measures block device sizes: 1 MiB.
const blockUnit = 1 << 20

const (
	bodyBlock = "block_name"
	bodyLevel = "compression_level"
)

// download implements gate.Route.Adapt for downloads. Mollymawk sends status 200 before
// checking the names in the request, and crashes if one of them is wrong. Its compression
// corrupts the data or crashes Mollymawk, and compression level 10 crashes albatross for
// the whole host. So the gate checks the names and sends a probe to find out whether
// Mollymawk knows the instance. It then requests compression level 0 and compresses the
// response itself.
func download(call *gate.Call) error {
	members, ok := parseObject(call.Body)
	if !ok {
		return invalid("Send a JSON object with albatross_instance, block_name and compression_level.")
	}
	for _, name := range []string{bodyInstance, bodyBlock} {
		text, ok := members.text(name)
		if !ok {
			return invalid("The JSON object must have a string member %q.", name)
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
	call.Probe = instanceProbe(instance)
	return nil
}

// level returns the requested compression level, or 0 if the request doesn't specify one.
func (o object) level() (int, error) {
	i := o.index(bodyLevel)
	if i < 0 {
		return 0, nil
	}
	level, err := strconv.Atoi(string(o[i].value))
	if err != nil || level < 0 || level > 9 {
		return 0, invalid("compression_level must be an integer from 0 to 9.")
	}
	return level, nil
}

// instanceProbe returns a probe that checks whether Mollymawk knows an instance. It
// requests the console of a unikernel with an invalid name: Mollymawk responds with 404 if
// it doesn't know the instance, and otherwise rejects the unikernel name with 400.
// Mollymawk also responds with 400 if it refuses the credential, in which case the download
// would fail the same way.
func instanceProbe(name string) *gate.Probe {
	return &gate.Probe{
		Path:  "/api/unikernel/console",
		Query: queryInstance + "=" + url.QueryEscape(name) + "&" + queryUnikernel + "=-",
		Judge: func(status int, body []byte) (gate.Refusal, bool) {
			switch {
			case status == http.StatusNotFound:
				refusal := gate.Refuse(gate.BackendError)
				refusal.Status, refusal.BackendCode = status, notFound
				refusal.Detail = "Mollymawk doesn't know the albatross instance " + name + "."
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

// checkLabel returns an error unless name is a valid albatross label.
func checkLabel(member, name string) error {
	if n := len(name); n < 1 || n > 63 || name[0] == '-' || strings.Trim(name, labelCharacters) != "" {
		return invalid(
			"%s %.70q isn't a valid name: use 1 to 63 letters, digits, dots and dashes, not starting with a dash.",
			member, name)
	}
	return nil
}

const labelCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-."
