package command

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCommandExplain(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	if got := s.run("explain", "GET", "/api/unikernels", "--token-id", id); got.code != exitOK ||
		!strings.HasPrefix(got.out, "allowed\nCHECK") || !strings.Contains(got.out, "scope") {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
	got := runCommand(&console{in: strings.NewReader(secret)}, "explain", "GET", "/api/volumes", "--token-file", "-",
		"-o", "json", "--address", s.address())
	var e struct {
		Allowed bool
		Code    string
	}
	if err := json.Unmarshal([]byte(got.out), &e); err != nil || got.code != exitRefused ||
		e.Code != "insufficient_scope" || strings.Contains(got.out, secret[20:]) {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
	if got := s.run("explain", "POST", "/api/nothing", "--token-id", id); got.code != exitRefused ||
		!strings.HasPrefix(got.out, "refused with 403 route_not_allowed\n") || got.err != "" {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}

	// The path may be a whole URL.
	for _, path := range []string{"http://localhost:8080/api/unikernels",
		"HTTPS://molly.example.com/api/unikernels?a=b#c", "https://[::1]/api/unikernels"} {
		if got := s.run("explain", "GET", path, "--token-id", id); got.code != exitOK {
			t.Errorf("explain %s: got unexpected outcome %+v", path, got)
		}
	}
	if got := s.run("explain", "GET", "https://molly.example.com", "--token-id", id); got.code != exitRefused ||
		!strings.HasPrefix(got.out, "refused with 403 route_not_allowed\n") {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
	for args, want := range map[string]string{
		"GET api/unikernels":                     "the path must begin with /, for example /api/unikernels",
		"GET localhost:8080/api/unikernels":      "the path must begin with /, for example /api/unikernels",
		"GET http:///api/unikernels":             "the path must begin with /, for example /api/unikernels",
		"/api/unikernels GET":                    "write the method before the path",
		"http://localhost:8080/api/unikernels x": "write the method before the path",
	} {
		got := s.run(append(append([]string{"explain"}, strings.Fields(args)...), "--token-id", id)...)
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("explain %s: got %+v, want %q", args, got, want)
		}
	}

	// Two gates may give different results.
	got = s.run("explain", "GET", "/api/both", "--token-id", id)
	if first, second := strings.Index(got.out, "\nat api.example.com: allowed\n"),
		strings.Index(got.out,
			"\nat other.example.com: refused with 403 insufficient_scope\n"); got.code != exitRefused || first < 0 ||
		second < first {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
	if got := s.run("explain", "GET", "/api/both", "--token-id", id, "--gate", "api.example.com"); got.code != exitOK ||
		!strings.HasPrefix(got.out, "allowed\n") {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
	if got := s.run("explain", "GET", "/api/both", "--token-id", id, "--gate", "nowhere"); got.code == exitOK ||
		!strings.Contains(got.err, "--gate") || !strings.Contains(got.err, "other.example.com") {
		t.Errorf("explain: got unexpected outcome %+v", got)
	}
}
