package mollymawktest

import (
	"strings"
	"testing"
)

// TestGenerationsDiffer distinguishes the generations with requests that have no side
// effects.
func TestGenerationsDiffer(t *testing.T) {
	t.Parallel()
	current, old := New(t, Options{}), New(t, Options{Generation: Generation2025})
	for _, action := range []string{"create", "upload", "download", "delete"} {
		wantEnvelope(t, fetch(t, current, "/api/block/"+action), 400, "", `"Bad HTTP request method."`)
		wantEnvelope(t, fetch(t, old, "/api/volume/"+action), 400, "", `"Bad HTTP request method."`)
		wantPage(t, fetch(t, current, "/api/volume/"+action), 400, "Page not found", "This page cannot be found.")
		wantPage(t, fetch(t, old, "/api/block/"+action), 400, "Page not found", "This page cannot be found.")
	}
	if a := fetch(t, old, "/volumes"); a.status != 302 {
		t.Errorf("GET /volumes: got status %d, want 302", a.status)
	}
	wantPage(t, fetch(t, old, "/blocks"), 400, "Page not found", "This page cannot be found.")
	for _, path := range []string{"/api/unikernel/scaling/update", "/api/unikernel/monitoring/update"} {
		wantEnvelope(t, fetch(t, current, path), 400, "", `"Bad HTTP request method."`)
		wantPage(t, fetch(t, old, path), 400, "Page not found", "This page cannot be found.")
	}
}

func TestGeneration2025(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{Generation: Generation2025})
	parts := create([]part{{"unikernel_config", `{"cpuid":1,"memory":32}`}}, "deploy_mode")
	wantEnvelope(t, postForm(t, s, token, "/api/unikernel/create", parts...), 200, "", `"created unikernel"`)

	const path = "/api/unikernel/restart"
	wantEnvelope(t, postJSON(t, s, token, path, `{"name":"hello","albatross_instance":"default"}`), 200, "",
		`"created unikernel"`)
	wantEnvelope(t, postJSON(t, s, token, path+"?instance=default&unikernel=hello", `{}`), 400, "",
		`"Couldn't find unikernel name in json"`)
	wantEnvelope(t, postJSON(t, s, token, path, `{"name":"other","albatross_instance":"default"}`), 500, "",
		`"failure: destroy: not found"`)
	wantEnvelope(t, postJSON(t, s, token, path, `{"name":"hello","albatross_instance":"_"}`), 400, "",
		`"Error converting albatross name to instance name: `+badLabel+`"`)

	wantEnvelope(t, postForm(t, s, token, "/api/volume/create", blockParts(jsonData("v1", 1, false), "one")...), 200,
		"", `"set block device"`)
	wantEnvelope(t,
		postForm(t, s, token, "/api/volume/upload", blockParts(`{"block_name":"v1","block_compressed":false}`,
			"two")...), 200, "", `"set block device"`)
	a := postJSON(t, s, token, "/api/volume/download",
		`{"albatross_instance":"default","block_name":"v1","compression_level":0}`)
	if a.status != 200 || len(a.body) != 1<<20 || !strings.HasPrefix(a.body, "two\x00") {
		t.Errorf("download: got status %d and %d bytes, want 200 and 1 MiB", a.status, len(a.body))
	}
	wantEnvelope(t, postJSON(t, s, token, "/api/volume/delete", `{"block_name":"v1","albatross_instance":"default"}`),
		200, "", `"removed block"`)
	wantEnvelope(t, fetch(t, s, "/api/unikernels", "Cookie: molly_session=abc"), 400, "",
		`"Failed to find user with cookie abc"`)
}

// TestHandbookRestartIsRedirected checks that the current generation redirects the
// handbook's restart request to the page for choosing an instance.
func TestHandbookRestartIsRedirected(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	a := postJSON(t, s, token, "/api/unikernel/restart", `{"name":"hello","albatross_instance":"default"}`)
	if a.status != 302 || a.header("location") != "/select/instance?callback=%2Fapi%2Funikernel%2Frestart" {
		t.Errorf("got %s, want a redirect to the page for choosing an instance", a.head)
	}
}
