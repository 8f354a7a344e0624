package mollymawktest

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

func TestListUnikernels(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{Instances: []string{"b", "a", "c"}})
	s.AddBlock("alice", "a", "v1", 2, nil)
	s.AddUnikernel("bob", "a", "his")
	a := postForm(t, s, token, "/api/unikernel/create", create([]part{
		{"albatross_instance", "A"}, {"unikernel_name", "Hello"},
		{"unikernel_config", `{"typ":"bhyve","cpuids":[2,0,2],"memory":64,"vcpus":2,"linux_boot_partition":"p1",
			"fail_behaviour":{"restart":null,"exit_code":[3,1]},"arguments":["--a=1","-v"],
			"network_interfaces":["service",{"name":"n2","host_device":"lan","mac":"00:80:41:aa:bb:cc"}],
			"block_devices":[{"name":"data","host_device":"v1","sector_size":4096}]}`},
	})...)
	wantEnvelope(t, a, 200, "", `"created unikernel"`)
	s.AddUnikernel("alice", "b", "z")
	s.AddUnikernel("alice", "b", "y")

	const (
		plain = `,"fail_behaviour":"quit","cpuids":[0],"memory":32,"block_devices":[],` +
			`"network_interfaces":[],"arguments":[],"numcpus":1,"linux_boot_partition":null}`
		hello = `{"name":"hello","fail_behaviour":{"restart":null,"exit_code":[1,3],"all_exit_codes":false},` +
			`"cpuids":[0,2],"memory":64,` +
			`"block_devices":[{"name":"data","host_device":"v1","sector_size":4096,"size":2}],` +
			`"network_interfaces":[{"name":"service","host_device":"service"},{"name":"n2","host_device":"lan"}],` +
			`"arguments":["--a=1","-v"],"numcpus":2,"linux_boot_partition":"p1"}`
	)
	list := func(data, errors string) string { return `{"data":` + data + `,"errors":` + errors + `}` }
	wantEnvelope(t, fetch(t, s, "/api/unikernels", bearer(token)), 200, "Unikernel Information",
		list(`[[],[{"name":"y"`+plain+`,{"name":"z"`+plain+`],[`+hello+`]]`, `[]`))

	s.SetFaults(Faults{Unreachable: map[string]string{"b": "connection refused"}})
	wantEnvelope(t, fetch(t, s, "/api/unikernels", bearer(token)), 200, "Unikernel Information",
		list(`[[],[`+hello+`]]`, `[{"instance":"b","error":"connection refused"}]`))
}

func TestCreateUnikernel(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{Policy: &Policy{Unikernels: 2, CPUs: []int{0}, Memory: 100}})
	ok := postForm(t, s, token, "/api/unikernel/create", create(nil)...)
	wantEnvelope(t, ok, 200, "", `"created unikernel"`)
	if list := s.Unikernels("alice"); len(list) != 1 || list[0].Name != "hello" || list[0].Instance != "default" ||
		list[0].ImageSize != int64(len(testImage)) || list[0].ImageSHA256 != sha256.Sum256([]byte(testImage)) {
		t.Errorf("got unikernels %+v, want only hello", list)
	}
	const badLabel = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	tests := []struct {
		name   string
		parts  []part
		status int
		data   string
	}{
		{"same name", create(nil), 500,
			"Albatross Response Error: failure: Unikernel with same name is already running"},
		{"force",
			create([]part{{"unikernel_force_create", "true"}, {"@binary", string(Image(Manifest{}, []byte("other")))}}),
			200, "created unikernel"},
		{"last field counts",
			create([]part{{"unikernel_force_create", "true"}, {"x", "y"}, {"unikernel_name", "hello"}}), 200,
			"created unikernel"},
		{"no instance", create(nil, "albatross_instance"), 400, "One or more required fields are missing."},
		{"no csrf", create(nil, "molly_csrf"), 400, "One or more required fields are missing."},
		{"no deploy_mode", create(nil, "deploy_mode"), 400, "One or more required fields are missing."},
		{"image too early", append([]part{{"@binary", testImage}}, create(nil, "@binary")...), 400,
			"One or more required fields are missing."},
		{"bad instance", create([]part{{"albatross_instance", "-x"}}), 400,
			"Error converting instance name: " + badLabel},
		{"bad name", create([]part{{"unikernel_name", ""}}), 400, "Error converting unikernel name: " + badLabel},
		{"long name", create([]part{{"unikernel_name", strings.Repeat("a", 64)}}), 400,
			"Error converting unikernel name: " + badLabel},
		{"unknown instance", create([]part{{"albatross_instance", "Nowhere"}}), 404,
			"Error finding albatross instance: nowhere"},
		{"bad config", create([]part{{"unikernel_config", "[]"}}), 400,
			"Invalid unikernel arguments: not a json assoc"},
		{"no typ", create([]part{{"unikernel_config", `{"cpuids":[0]}`}}), 400,
			"Invalid unikernel arguments: typ must be provided"},
		{"no block",
			create([]part{{"unikernel_name", "u"},
				{"unikernel_config", `{"typ":"solo5","cpuid":0,"block_devices":["v9"]}`}}),
			500, "Albatross Response Error: failure: block device alice:v9 not found"},
		{"deploy mode", create([]part{{"deploy_mode", "x"}}), 400, "Invalid deploy mode"},
		{"builder without job", create([]part{{"deploy_mode", "builder"}}), 400, "Missing builder job or uuid"},
		{"builder",
			create([]part{{"deploy_mode", "builder"}, {"builder_job", "hello"}, {"unikernel_name", "u2"},
				{"@binary", ""}}), 200, "created unikernel"},
		{"too many", create([]part{{"unikernel_name", "u3"}}), 500,
			"Albatross Response Error: failure: maximum amount of unikernels (2) reached"},
	}
	for _, test := range tests {
		a := postForm(t, s, token, "/api/unikernel/create", test.parts...)
		if want := envelope(test.status, "", `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", test.name, a.status, a.body, want)
		}
	}
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	wantEnvelope(t, postForm(t, s, token, "/api/unikernel/create", create(nil)...), 500, "",
		`"Albatross Query Error: timeout"`)
}

func TestCreateNeedsForm(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	body := form(create(nil)...)
	for header, data := range map[string]string{
		"X: y":                     `"Missing Content-Type header"`,
		"Content-Type: text/plain": `"Expected multipart/form-data"`,
		"Content-Type: Multipart/form-data; boundary=" + boundary: `"Expected multipart/form-data"`,
	} {
		wantEnvelope(t, roundTrip(t, s, message("POST", "/api/unikernel/create", body, bearer(token), header)), 400,
			"", data)
	}
}

func TestCreateGetsNoResponse(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	whole := form(create(nil)...)
	for name, request := range map[string]string{
		"no image": message("POST", "/api/unikernel/create", form(create(nil, "@binary")...), bearer(token),
			formType),
		"not a form": message("POST", "/api/unikernel/create", "xyz", bearer(token), formType),
		"no boundary": message("POST", "/api/unikernel/create", whole, bearer(token),
			"Content-Type: multipart/form-data"),
		"truncated image": message("POST", "/api/unikernel/create", whole[:len(whole)-40], bearer(token), formType,
			"Content-Length: 100000"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, s)
			c.send(request)
			c.wantSilence()
		})
	}
	t.Cleanup(func() {
		if list := s.Unikernels("alice"); len(list) != 0 {
			t.Errorf("got unikernels %+v, want none", list)
		}
	})
}

// TestNestedForm checks that a multipart part is replaced by its own parts.
func TestNestedForm(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	inner := "Content-Type: multipart/mixed; boundary=inner\r\n\r\n--inner\r\n" +
		"Content-Disposition: form-data; name=\"unikernel_name\"\r\n\r\nnested\r\n--inner--"
	whole := form(create(nil)...)
	file := strings.LastIndex(whole[:strings.LastIndex(whole, "--"+boundary)], "--"+boundary)
	body := whole[:file] + "--" + boundary + "\r\n" + inner + "\r\n" + whole[file:]
	wantEnvelope(t, roundTrip(t, s, message("POST", pathCreate, body, bearer(token), formType)), 200, "",
		`"created unikernel"`)
	if list := s.Unikernels("alice"); len(list) != 1 || list[0].Name != "nested" {
		t.Errorf("got unikernels %+v, want only nested", list)
	}
}

func TestPartName(t *testing.T) {
	t.Parallel()
	for disposition, want := range map[string]string{
		`form-data; name="a"`:                    "a",
		`form-data; name=a`:                      "a",
		`form-data;name = "a" ; filename="x;y"`:  "a",
		`form-data; NAME="a"; name="b"`:          "b",
		`form-data; name="a"; Name=b`:            "b",
		`form-data; name="a\"b\\"`:               `a"b\`,
		`form-data; filename="name=x"; name="a"`: "a",
		`form-data; filename="name=x"`:           "",
		`form-data; name`:                        "",
		`form-data; name="open`:                  "open",
	} {
		if got := partName([]string{"form-data; name=first", disposition}); got != want {
			t.Errorf("%s: got %q, want %q", disposition, got, want)
		}
	}
	if got := partName(nil); got != "" {
		t.Errorf("name of a part without a header: got %q, want an empty name", got)
	}
}

func TestCreateWithSession(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	session := "Cookie: " + s.Session("alice")
	post := func(csrf string) response {
		return roundTrip(t, s, message("POST", "/api/unikernel/create", form(create([]part{{"molly_csrf", csrf}})...),
			session, formType))
	}
	wantEnvelope(t, post(""), 400, "Missing CSRF Token", `"Missing CSRF token. Please refresh and try again."`)
	wantEnvelope(t, post(s.CSRF("alice")), 200, "", `"created unikernel"`)
}

// TestLargeImage checks that the server streams an image without storing it.
func TestLargeImage(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	large := string(Image(Manifest{}, bytes.Repeat([]byte("0123456789abcdef"), 20<<16)))
	wantEnvelope(t, postForm(t, s, token, "/api/unikernel/create", create([]part{{"@binary", large}})...), 200, "",
		`"created unikernel"`)
	if got := s.Unikernels("alice")[0]; got.ImageSize != int64(len(large)) ||
		got.ImageSHA256 != sha256.Sum256([]byte(large)) {
		t.Errorf("got an image of %d bytes, want the uploaded %d bytes", got.ImageSize, len(large))
	}
	if r := s.Requests()[0]; r.Body != nil || r.BodyLength < 20<<20 || !r.BodyEnded {
		t.Errorf("recorded a body of %d bytes and stored %d, want at least 20 MiB and 0", r.BodyLength, len(r.Body))
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                       "Blank input data",
		`{"fail_behaviour":"x"}`: "fail behaviour must be quit or restart",
		`{"fail_behaviour":{}}`:  "expected a restart",
		`{"fail_behaviour":{"restart":1,"exit_code":1}}`:     "expected a list of integers as exit_code payload",
		`{"fail_behaviour":{"restart":1,"exit_code":["1"]}}`: "fail_behaviour exit code is not an integer",
		`{}`:                                            "cpuids must be a list of integers",
		`{"cpuid":"0"}`:                                 "cpuid must be an integer",
		`{"cpuids":0}`:                                  "CPUids must be a list of integers",
		`{"cpuids":[]}`:                                 "CPUids cannot be an empty list",
		`{"cpuids":[0.0]}`:                              "CPUid is not an int",
		`{"cpuid":0,"vcpus":0}`:                         "vcpus must be a positive integer greater than 0",
		`{"cpuid":0,"linux_boot_partition":1}`:          "linux_boot_partition must be a string",
		`{"cpuid":0,"memory":"1"}`:                      "memory must be an integer",
		`{"cpuid":0,"network_interfaces":{}}`:           "expected a list of network devices",
		`{"cpuid":0,"network_interfaces":[{}]}`:         "name must be present in the json",
		`{"cpuid":0,"network_interfaces":[{"name":1}]}`: "couldn't decode json",
		`{"cpuid":0,"block_devices":[1]}`:               "bad json, either string or assoc",
		`{"cpuid":0,"block_devices":1}`:                 "expected a list of block devices",
		`{"cpuid":0,"arguments":1}`:                     "arguments must be a list of strings",
		`{"cpuid":0,"arguments":[1]}`:                   "argument is not a string",
		`{"cpuid":0,"startup":101}`:                     "startup must be an integer between 1 and 100, default is 50",
		`{"cpuid":0}`:                                   "typ must be provided",
		`{"cpuid":0,"typ":1}`:                           "typ must be a string",
		`{"cpuid":0,"typ":"x"}`:                         "only 'solo5' and 'bhyve' supported as typ",
		`{"typ":"x","startup":-1,"cpuids":1}`:           "CPUids must be a list of integers",
		`{"cpuid":0,"typ":"solo5","startup":0,"linux_boot_partition":null,"fail_behaviour":"quit"}`: "",
	} {
		_, err := parseConfig(text, Current)
		if got := errorText(err); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if _, err := parseConfig(`{}`, Generation2025); err != nil {
		t.Errorf("empty configuration with Generation2025: got error %v, want none", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDestroyUnikernel(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	s.AddUnikernel("bob", "default", "his")
	const badLabel = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	for _, test := range []struct {
		body   string
		status int
		data   string
	}{
		{`{"name":"Hello","albatross_instance":"DEFAULT"}`, 200, "destroyed unikernel"},
		{`{"name":"hello","albatross_instance":"default"}`, 500, "failure: destroy: not found"},
		{`{"name":"his","albatross_instance":"default"}`, 500, "failure: destroy: not found"},
		{`{"name":"hello"}`, 400, "Couldn't find unikernel name in json"},
		{`{"name":1,"albatross_instance":"default"}`, 400, "Couldn't find unikernel name in json"},
		{`{"name":"x","albatross_instance":"a b"}`, 400, "Error converting instance name: " + badLabel},
		{`{"name":"x_y","albatross_instance":"default"}`, 400, "Error converting unikernel name: " + badLabel},
		{`{"name":"x","albatross_instance":"other"}`, 404, "Error finding albatross instance: other"},
		{`[]`, 400, "not a dictionary"},
		// The first of two members with the same name counts, comments are ignored, and
		// names don't need quotes.
		{`{"name":"x","name":"his",albatross_instance:"other"/*"default"*/,"albatross_instance":"default"}`, 404,
			"Error finding albatross instance: other"},
	} {
		a := postJSON(t, s, token, "/api/unikernel/destroy", test.body)
		if want := envelope(test.status, "", `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", test.body, a.status, a.body, want)
		}
	}
	wantEnvelope(t, postJSON(t, s, token, "/api/unikernel/destroy", ""), 400, "", `"Blank input data"`)
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	wantEnvelope(t, postJSON(t, s, token, "/api/unikernel/destroy", `{"name":"x","albatross_instance":"default"}`),
		500, "", `"Error querying albatross: timeout"`)
	if len(s.Unikernels("bob")) != 1 || len(s.Unikernels("alice")) != 0 {
		t.Error("the wrong unikernels were destroyed")
	}
}

func TestRestartUnikernel(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	const path = "/api/unikernel/restart"
	for _, test := range []struct {
		query, body string
		status      int
		data        string
	}{
		{"?instance=default&unikernel=hello", `{}`, 200, "created unikernel"},
		{"?instance=Default&unikernel=HELLO", `{"x":1}`, 200, "created unikernel"},
		{"?instance=default&unikernel=other", `{}`, 500, "failure: destroy: not found"},
		{"?instance=default&unikernel=hello", ``, 400, "Blank input data"},
		{"?instance=default&unikernel=hello", `{"arguments":{}}`, 400, "Arguments is expected to be a string"},
		{"?instance=default&unikernel=hello", `{"arguments":"{}"}`, 400,
			"Error parsing arguments: cpuids must be a list of integers"},
		{"?instance=default&unikernel=hello",
			`{"arguments":"{\"typ\":\"solo5\",\"cpuid\":0,\"arguments\":[\"--new\"]}"}`, 200, "created unikernel"},
	} {
		a := postJSON(t, s, token, path+test.query, test.body)
		if want := envelope(test.status, "", `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s %s: got %d %s\nwant %s", test.query, test.body, a.status, a.body, want)
		}
	}
	if got := s.Unikernels("alice")[0].Arguments; !slices.Equal(got, []string{"--new"}) {
		t.Errorf("got arguments %q, want --new", got)
	}
}

// TestQueryErrors checks that errors in the query produce HTML pages before the server
// reads the body.
func TestQueryErrors(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	const badLabel = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	for _, route := range []struct{ method, path string }{
		{"POST", "/api/unikernel/restart"}, {"GET", "/api/unikernel/console"},
		{"POST", "/api/unikernel/scaling/update"},
	} {
		send := func(query string) response {
			return roundTrip(t, s, message(route.method, route.path+query, "", bearer(token)))
		}
		wantPage(t, send("?instance=a_b&unikernel=x"), 400, "Albatross instance error",
			"Error with albatross instance name: "+badLabel)
		wantPage(t, send("?instance=Other&unikernel=x"), 404, "404",
			"Couldn't find albatross instance with name: other")
		wantPage(t, send("?instance=default"), 400, "400", "Couldn't find unikernel in query params")
		wantPage(t, send("?instance=default&unikernel=-"), 400, "Unikernel name error",
			"Error with unikernel name: "+badLabel)

		a := send("?unikernel=x,y+z")
		if a.status != 302 || a.header("Set-Cookie") != "flash_msg=;Path=/;" ||
			!strings.Contains(a.body, "Redirecting") {
			t.Errorf("%s without instance: got %s, want a redirect", route.path, a.head)
		}
	}
	a := fetch(t, s, "/api/unikernel/console?unikernel=x", bearer(token))
	if got := a.header("location"); got != "/select/instance?callback=%2Fapi%2Funikernel%2Fconsole%3Funikernel=x" {
		t.Errorf("got location %s, want the page for choosing an instance", got)
	}
	if s.Crashes() != 0 {
		t.Error("an error in the query crashed the server")
	}
}
