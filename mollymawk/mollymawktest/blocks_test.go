package mollymawktest

import (
	"bytes"
	"compress/zlib"
	"io"
	"strings"
	"testing"
)

func compress(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := io.WriteString(z, data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCreateAndUploadBlock(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "used", 1, nil)
	s.AddUnikernel("alice", "default", "hello", "used")
	tooLarge := strings.Repeat("x", 1<<20+1)
	for _, test := range []struct {
		name, target string
		parts        []part
		status       int
		data         string
	}{
		{"create", "create", blockParts(jsonData("V1", 1, false), "one"), 200, "set block device"},
		{"create again", "create", blockParts(jsonData("v1", 1, false), "two"), 400,
			"unexpected field. got failure: file already exists"},
		{"upload", "upload", blockParts(jsonData("v1", 9, false), "three"), 200, "set block device"},
		{"upload compressed", "upload", blockParts(jsonData("v1", 9, true), compress(t, "four")), 200,
			"set block device"},
		{"upload to unknown", "upload", blockParts(jsonData("v2", 1, false), tooLarge), 400,
			"unexpected field. got failure: writing block data"},
		{"upload to used", "upload", blockParts(jsonData("used", 1, false), "x"), 400,
			"unexpected field. got failure: writing block data"},
		{"not compressed", "upload", blockParts(jsonData("v1", 1, true), "plain text"), 400,
			"unexpected field. got failure: error writing to file descriptor"},
		{"create, not compressed", "create", blockParts(jsonData("v3", 1, true), "x"), 400,
			"unexpected field. got failure: error writing to file descriptor"},
		{"zero size", "create", blockParts(jsonData("v4", 0, false), ""), 400,
			"unexpected field. got failure: overflow while computing bytes"},
		{"upload without size", "upload", blockParts(`{"block_name":"v1","block_compressed":false}`, ""), 400,
			`unexpected field. got {\\\"block_name\\\":\\\"v1\\\",\\\"block_compressed\\\":false}`},
		{"bad name", "create", blockParts(jsonData("a/b", 1, false), ""), 400,
			"Invalid block name: invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"},
		{"not an object", "create", blockParts(`[]`, ""), 400, "expected a dictionary"},
		{"invalid JSON", "create", blockParts(`{`, ""), 400, "expected a dictionary"},
		{"unknown instance", "create",
			append([]part{{"x", ""}}, []part{{"molly_csrf", ""}, {"albatross_instance", "Other"}, {"json_data", "{}"},
				{"@block_data", ""}}...),
			404, "Couldn't find albatross instance with name other"},
		{"bad instance", "create", []part{{"molly_csrf", ""}, {"albatross_instance", "_"}, {"json_data", "{}"},
			{"@block_data", ""}}, 400,
			"Couldn't convert name to albatross instance invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"},
		{"handbook's order", "create", []part{{"albatross_instance", "default"}, {"molly_csrf", ""},
			{"@block_data", "x"}, {"json_data", jsonData("v5", 1, false)}},
			400, "One or more required fields are missing."},
	} {
		a := postForm(t, s, token, "/api/block/"+test.target, test.parts...)
		if want := envelope(test.status, "", `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", test.name, a.status, a.body, want)
		}
	}
	// The device is kept even if writing its data failed.
	if _, ok := s.Block("alice", "default", "v3"); !ok {
		t.Error("the block device v3 doesn't exist")
	}
	postForm(t, s, token, "/api/block/upload", blockParts(jsonData("v1", 1, true), compress(t, "four"))...)
	if data, ok := s.Block("alice", "default", "v1"); !ok || string(data) != "four" {
		t.Errorf("v1 contains %q, want %q", data, "four")
	}
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	wantEnvelope(t, postForm(t, s, token, "/api/block/create", blockParts(jsonData("v6", 1, false), "")...), 500, "",
		`"an error with albatross. got timeout"`)
}

func TestUploadWithoutFile(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	c := dial(t, s)
	parts := blockParts(jsonData("v1", 1, false), "")
	c.send(message("POST", "/api/block/create", form(parts[:3]...), bearer(token), formType))
	c.wantSilence()
}

func TestDeleteBlock(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "v1", 1, nil)
	s.AddBlock("alice", "default", "used", 1, nil)
	s.AddBlock("bob", "default", "his", 1, nil)
	s.AddUnikernel("alice", "default", "hello", "used")
	const badLabel = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	for _, test := range []struct {
		body   string
		status int
		data   string
	}{
		{`{"block_name":"V1","albatross_instance":"default"}`, 200, "removed block"},
		{`{"block_name":"v1","albatross_instance":"default"}`, 500, "failure: remove block: not found"},
		{`{"block_name":"his","albatross_instance":"default"}`, 500, "failure: remove block: not found"},
		{`{"block_name":"used","albatross_instance":"default"}`, 500, "failure: remove block: is in use"},
		{`{"albatross_instance":"default"}`, 400, "Couldn't find block name in json"},
		{`{"block_name":"v1","albatross_instance":""}`, 400, "Couldn't convert instance name: " + badLabel},
		{`{"block_name":"","albatross_instance":"default"}`, 400, "Couldn't convert block name: " + badLabel},
		{`{"block_name":"v1","albatross_instance":"other"}`, 404, "Couldn't find albatross instance with name: other"},
	} {
		a := postJSON(t, s, token, "/api/block/delete", test.body)
		if want := envelope(test.status, "", `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", test.body, a.status, a.body, want)
		}
	}
	postJSON(t, s, token, "/api/unikernel/destroy", `{"name":"hello","albatross_instance":"default"}`)
	wantEnvelope(t, postJSON(t, s, token, "/api/block/delete", `{"block_name":"used","albatross_instance":"default"}`),
		200, "", `"removed block"`)
}

func TestDownloadBlock(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	data := bytes.Repeat([]byte("data"), 100000)
	s.AddBlock("alice", "default", "v1", 3, data)
	want := append(bytes.Clone(data), make([]byte, 3<<20-len(data))...)

	a := postJSON(t, s, token, "/api/block/download",
		`{"albatross_instance":"default","block_name":"V1","compression_level":0}`)
	const head = "HTTP/1.1 200 OK\r\nContent-type: application/octet-stream\r\n" +
		"Content-Disposition: attachment; filename=\"V1_dump\""
	if a.head != head || a.body != string(want) {
		t.Errorf("got head %q and a body of %d bytes, want head %q and the device's %d bytes",
			a.head, len(a.body), head, len(want))
	}
}

// TestDownloadCloses checks that the server closes the connection after every response to
// a download, without announcing it in a header.
func TestDownloadCloses(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	const path = "/api/block/download"
	for name, test := range map[string]struct {
		request, data string
	}{
		"wrong method": {message("GET", path, "", bearer(token)), `"Bad HTTP request method."`},
		"bad token":    {message("POST", path, "{}", bearer("x")), `"Failed to find user with token x"`},
		"fields missing": {message("POST", path, `{"albatross_instance":"default","block_name":"v1"}`, bearer(token)),
			`"Couldn't find block name in json"`},
		"not an object": {message("POST", path, `[]`, bearer(token)), `"not a dictionary"`},
	} {
		c := dial(t, s)
		c.send(test.request)
		a := c.read()
		if a.header("connection") != "" || a.body != envelope(400, "", test.data) {
			t.Errorf("%s: got %s %s, want error %s and no Connection header", name, a.head, a.body, test.data)
		}
		c.wantClosed()
	}
}
