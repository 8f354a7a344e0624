package command

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestCommandStatus checks what status shows, and that a backup makes its advice disappear.
func TestCommandStatus(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	_, secret := s.create(t, "--name", "first to expire", "--expires-in", "2d")
	id, _ := s.create(t, "--name", "later", "--expires-in", "80d")
	gone, _ := s.create(t, "--name", "gone")
	s.create(t, "--name", "me", "--kind", "admin", "--preset", "")
	s.run("revoke", gone, "--yes")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.store.Now()})
	}
	s.store.CountDenied(match, tokenstore.Refusal{Time: s.store.Now(), Code: "insufficient_scope"})
	got := s.run("status")
	lines := squeeze(got.out)
	for _, want := range []string{
		"gateway healthy", "store ok", "records ok", "counts ok", "clock ok", "backend ok", "last backup never",
		"API keys 2 active 1 revoked", "admin keys 1", "expires next in 2 d first to expire (",
		"later (" + id + ")", "today 3 allowed 1 refused (25.0 %)",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the output lacks %q:\n%s", want, got.out)
		}
	}
	if got.code != exitOK || !strings.Contains(got.err, "caddy api-token backup tokens-$(date +%F).db") {
		t.Errorf("got exit code %d, standard error %q", got.code, got.err)
	}
	if backup := s.run("backup", "-"); backup.code != exitOK {
		t.Fatal(backup.err)
	}
	for deadline := time.Now().Add(time.Minute); ; { // the server notes the backup after it has sent it
		got := s.run("status")
		if got.err == "" && regexp.MustCompile(`last backup \d+ s ago`).MatchString(squeeze(got.out)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a backup: got unexpected outcome %+v", got)
		}
	}
	var object struct {
		Healthy     bool
		Checks      map[string]struct{ Status string }
		Tokens      struct{ Status struct{ Active, Revoked int } }
		ExpiresNext []struct{ ID, Name string }    `json:"expires_next"`
		Today       struct{ Allowed, Refused int } `json:"requests_today"`
		LastBackup  *time.Time                     `json:"last_backup"`
	}
	got = s.run("status", "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &object); err != nil || !object.Healthy ||
		object.Checks["clock"].Status != "ok" || object.Tokens.Status.Active != 2 || object.Today.Refused != 1 ||
		len(object.ExpiresNext) < 2 || object.ExpiresNext[0].Name != "first to expire" || object.LastBackup == nil {
		t.Errorf("got %+v, error %v", got, err)
	}
}

// TestCommandStatusUnhealthy checks that status exits with 4 if a check warns, and if the store
// can't be read at all.
func TestCommandStatusUnhealthy(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	s.create(t, "--name", "ci")
	s.pass(-time.Hour)
	got := s.run("status")
	if got.code != exitRefused || !strings.Contains(squeeze(got.out), "gateway needs attention") ||
		!strings.Contains(squeeze(got.out), "clock warning The clock is") {
		t.Errorf("with a clock that is behind: got unexpected outcome %+v", got)
	}
	s.refuse = func() *admin.Refusal {
		return &admin.Refusal{Problem: problem.Problem{Status: 503, Code: "store_unavailable", Title: "t",
			Detail: "The token store can't be read."}}
	}
	got = s.run("status")
	if got.code != exitRefused || !strings.Contains(squeeze(got.out), "store failed The token store can't be read.") {
		t.Errorf("without a store: got unexpected outcome %+v", got)
	}
	got = s.run("status", "-o", "json")
	if got.code != exitRefused || !strings.Contains(got.out, `"healthy":false`) {
		t.Errorf("without a store: got unexpected outcome %+v", got)
	}
	s.Close()
	if got := s.run("status"); got.code != exitUnreachable || got.out != "" {
		t.Errorf("without a server: got unexpected outcome %+v", got)
	}
}

// TestCommandStatusWaits checks that status waits until the server has counted the keys, but gives
// up after a few tries.
func TestCommandStatusWaits(t *testing.T) {
	t.Parallel()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := `{"data":[],"next_cursor":null}`
		if strings.HasSuffix(r.URL.Path, "/overview") {
			asked++
			text = `{"time":"2026-11-29T00:00:00Z","tokens":null,"health":{"store":{"status":"ok"},` +
				`"backup":{"status":"ok"}}}`
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	got := runCommand(nil, "status", "--address", server.Listener.Addr().String())
	if asked != countTries || strings.Contains(got.out, "API keys") || !strings.Contains(got.out, "store") {
		t.Errorf("asked %d times, got unexpected outcome %+v", asked, got)
	}
}
