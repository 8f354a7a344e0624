package mollymawk

import (
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// lower returns a name as Mollymawk stores it.
func lower(name string) string { return strings.ToLower(name) }

// FuzzQueryTargets compares accepted queries with what net/url reads.
func FuzzQueryTargets(f *testing.F) {
	for _, query := range []string{inQuery, "instance=a&instance=b&unikernel=c", "%69nstance=A&unikernel=b&x=%zz",
		"unikernel=b;c&instance=a", "Instance=a&instance=b&unikernel=c", "instance=a#&unikernel=b&&=",
		"x=+%2b&instance=a&unikernel=b"} {
		f.Add(query)
	}
	read := fromQuery(instance(queryInstance), unikernel(queryUnikernel))
	f.Fuzz(func(t *testing.T, query string) {
		call := gate.Call{Query: query}
		resources, err := read(&call)
		if err != nil {
			wantRefusal(t, query, err, "")
			return
		}
		for _, forwarded := range []string{strings.ReplaceAll(query, ";", "%3B"), call.Query} {
			parameters, err := url.ParseQuery(forwarded)
			if err != nil || len(parameters["instance"]) != 1 || len(parameters["unikernel"]) != 1 {
				t.Fatalf("%q: got parameters %v and error %v", forwarded, parameters, err)
			}
			want := "instance/" + lower(parameters.Get("instance")) + " unikernel/" + lower(parameters.Get("unikernel"))
			if got := list(t, resources); got != want {
				t.Fatalf("%q: got %q, want %q", forwarded, got, want)
			}
		}
		if strings.ContainsAny(call.Query, "#;\"<> \x00") {
			t.Fatalf("%q: forwarded %q", query, call.Query)
		}
	})
}

// FuzzBodyTargets compares accepted bodies with what encoding/json reads.
func FuzzBodyTargets(f *testing.F) {
	for _, body := range []string{inBody, `{"name":"a","Name":"b","albatross_instance":"c"}`, `{"name":"a","name":"b"}`,
		`{"n\u0061me":"A","albatross_instance":"i","x":[{"name":"b"}]}`, inBody + "{}", `{/**/}`,
		`{"name":"a","albatross_instance":NaN}`,
		`{"name":"\ud800","albatross_instance":"i"}`} {
		f.Add([]byte(body))
	}
	read := fromBody(instance(bodyInstance), unikernel(bodyUnikernel))
	f.Fuzz(func(t *testing.T, body []byte) {
		call := gate.Call{Body: slices.Clone(body)}
		resources, err := read(&call)
		if err != nil {
			wantRefusal(t, string(body), err, "")
			return
		}
		for _, forwarded := range [][]byte{body, call.Body} {
			var members struct { // encoding/json ignores the case of these names
				Instance string `json:"albatross_instance"`
				Name     string `json:"name"`
			}
			if err := json.Unmarshal(forwarded, &members); err != nil {
				t.Fatalf("%q: %v", forwarded, err)
			}
			want := "instance/" + lower(members.Instance) + " unikernel/" + lower(members.Name)
			if got := list(t, resources); got != want {
				t.Fatalf("%q: got %q, want %q", forwarded, got, want)
			}
		}
	})
}

// FuzzDevices compares accepted configurations with what encoding/json reads.
func FuzzDevices(f *testing.F) {
	for devices := range deviceLists {
		f.Add(`{"typ":"solo5","block_devices":` + devices + "}")
	}
	f.Add(`{"block_devices":["a"],"Block_Devices":["b"]}`)
	f.Add(`{"block_devices":["a"]}//`)
	read := objectIn("config", devices)
	f.Fuzz(func(t *testing.T, text string) {
		v := values{"The form", object{quotedMember("config", text)}}
		resources, err := read(v)
		if err != nil {
			wantRefusal(t, text, err, "")
			return
		}
		for _, forwarded := range []string{text, v.members[0].text()} {
			if got, want := list(t, resources), decodeDevices(t, forwarded); got != want {
				t.Fatalf("%q: got %q, want %q", forwarded, got, want)
			}
		}
	})
}

// decodeDevices returns the volumes in a configuration.
func decodeDevices(t *testing.T, text string) string {
	t.Helper()
	var config struct {
		Devices []json.RawMessage `json:"block_devices"`
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	var resources []token.Resource
	for _, raw := range config.Devices {
		var device struct {
			Name string  `json:"name"`
			Host *string `json:"host_device"`
		}
		if err := json.Unmarshal(raw, &device); err != nil {
			if err := json.Unmarshal(raw, &device.Name); err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		if device.Host != nil {
			device.Name = *device.Host
		}
		resources = append(resources, token.Resource{Type: "block", Name: device.Name})
	}
	return list(t, resources)
}

// FuzzFormTargets compares accepted forms with what mime/multipart reads.
func FuzzFormTargets(f *testing.F) {
	for _, form := range refusedForms() {
		f.Add(form[0])
	}
	f.Add(formOf(wholeCreate...))
	f.Add(formOf(append([]string{"Unikernel_name=v"}, wholeCreate...)...))
	f.Add(formOf(createWith("unikernel_config", `{"block_devices":["a",{"name":"b","host_device":"c"}]}`)...))
	f.Fuzz(func(t *testing.T, body string) {
		u := gate.Upload{ContentType: []string{formType}, Body: strings.NewReader(body)}
		if err := current.createForm().adaptUpload(&u); err != nil || u.TargetsErr != nil {
			return
		}
		sent, err := io.ReadAll(u.Body)
		if err != nil {
			return
		}
		parts, err := readForm(u.ContentType, sent)
		if err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		fields := make(map[string]string)
		for _, part := range parts {
			name, value, _ := strings.Cut(part, "=")
			fields[lower(name)] = value
		}
		want := "instance/" + lower(fields["albatross_instance"]) + " unikernel/" + lower(fields["unikernel_name"])
		if volumes := decodeDevices(t, fields["unikernel_config"]); volumes != "" {
			want += " " + volumes
		}
		if got := list(t, u.Targets); got != want {
			t.Fatalf("%q: got %q, want %q", body, got, want)
		}
	})
}
