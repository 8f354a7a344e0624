package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
)

const ownKeyText = `{"id":"4fQ9Zt2LkVb7","name":"ci","account":"alice","scopes":["unikernel:list","volume:*"],` +
	`"expires_at":null,"expires_soon":false,"rotated":true,` +
	`"rate_limit":{"requests":60,"window":"1m","remaining":59,"reset_in":1},` +
	`"quota":{"requests":10000,"period":"month","remaining":9188,"reset_in":448072}}`

// newOwnKeyServer returns a server with a gate, whose URL has a path.
func newOwnKeyServer(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/base"+gate.OwnKeyPath || r.Header.Get("Authorization") != "Bearer "+commandVector {
			t.Errorf("got a request for %s with the header %v", r.RequestURI, r.Header)
		}
		_, _ = io.WriteString(w, ownKeyText+"\n")
	}))
	t.Cleanup(server.Close)
	return server
}

// TestCommandWhoami checks what whoami shows, and that it sends the key only in the header.
func TestCommandWhoami(t *testing.T) {
	t.Parallel()
	server := newOwnKeyServer(t)
	for _, base := range []string{"/base", "/base/"} {
		got := runCommand(&console{in: strings.NewReader(commandVector + "\n")}, "whoami", "--key-stdin",
			server.URL+base)
		for _, want := range []string{"id 4fQ9Zt2LkVb7", "name ci", "account alice", "scopes unikernel:list, volume:*",
			"expires never", "rate limit 59 of 60 per 1m left; resets in 1 s",
			"quota 9,188 of 10,000 per month left; resets in 5 d"} {
			if !strings.Contains(squeeze(got.out), want+"\n") {
				t.Errorf("the output lacks %q:\n%s", want, got.out)
			}
		}
		if got.code != exitOK || !strings.Contains(got.err, "has been replaced") ||
			strings.Contains(got.out+got.err, commandVector[20:]) {
			t.Errorf("got unexpected outcome %+v", got)
		}
	}
	got := runCommand(&console{in: strings.NewReader(commandVector)}, "whoami", "--key-stdin", server.URL+"/base", "-o",
		"json")
	if got.out != ownKeyText+"\n" {
		t.Errorf("got unexpected outcome %+v", got)
	}
}

// TestCommandWhoamiFails checks that whoami tells refusals by a gate from responses by other
// servers, and follows no redirect.
func TestCommandWhoamiFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status     int
		body, text string
		code       int
	}{
		"refused": {401, `{"code":"revoked_token","detail":"This API key has been revoked."}`,
			"Refused with 401 revoked_token: This API key has been revoked.", exitRefused},
		"store": {503, `{"code":"store_unavailable","detail":"x"}`, "503 store_unavailable", exitUnreachable},
		"old":   {403, `{"code":"route_not_allowed","detail":"x"}`, "too old", exitUnreachable},
		"admin": {404, `{"code":"not_found","detail":"There is nothing here."}`, "not as a gate", exitUnreachable},
		"page":  {200, `<html>`, "not as a gate", exitUnreachable},
		"JSON":  {200, `{"id":null}`, "not as a gate", exitUnreachable},
		"404":   {404, `not found`, "not as a gate", exitUnreachable},
		"302":   {302, ``, "not as a gate", exitUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			t.Cleanup(server.Close)
			got := runCommand(&console{in: strings.NewReader(commandVector)}, "whoami", "--key-stdin", server.URL)
			if got.code != tt.code || !strings.Contains(got.err, tt.text) || got.out != "" || asked != 1 {
				t.Errorf("got unexpected outcome %+v after %d requests", got, asked)
			}
		})
	}
	for _, args := range [][]string{
		{}, {"x"}, {"ftp://127.0.0.1"}, {"http://molly.example.com"}, {"http://127.0.0.1@molly.example.com"},
		{"http://localhost.example.com"}, {"https://user@molly.example.com"}, {"https://molly.example.com?x"},
		{"https://molly.example.com", "y"}, {"https://molly.example.com/" + commandVector},
	} {
		got := runCommand(&console{in: strings.NewReader(commandVector)}, append([]string{"whoami", "--key-stdin"},
			args...)...)
		if got.code != exitUsage || strings.Contains(got.err, commandVector[20:]) {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	for address, want := range map[string]string{
		"localhost:8080":         "did you mean http://localhost:8080?",
		"127.0.0.1:8080/base":    "did you mean http://127.0.0.1:8080/base?",
		"[::1]:8080":             "did you mean http://[::1]:8080?",
		"molly.example.com":      "did you mean https://molly.example.com?",
		"molly.example.com?a=b":  "must have the form",
		"molly.example.com@evil": "must have the form",
	} {
		if got := runCommand(nil, "whoami", address); got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: got %+v, want %q", address, got, want)
		}
	}
	if got := runCommand(nil, "whoami", "https://molly.example.com"); got.code != exitUsage ||
		!strings.Contains(got.err, keyVariable) {
		t.Errorf("without a key: got unexpected outcome %+v", got)
	}
	if got := runCommand(&console{in: strings.NewReader(commandVector)}, "whoami", "--key-stdin",
		"http://127.0.0.1:1"); got.code != exitUnreachable {
		t.Errorf("without a server: got unexpected outcome %+v", got)
	}
}
