package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

const octets = "Content-Type: application/octet-stream"

// newOperatorFixture returns a fixture on Caddy's admin endpoint.
func newOperatorFixture(t *testing.T) *sharedFixture {
	t.Helper()
	sessions := new(Sessions)
	return newSharedFixture(t, func(c *Config) { c.OperatorSessions = func() *Sessions { return sessions } })
}

// audited returns the actions in the audit log, newest first.
func (f *fixture) audited() (actions []any) {
	f.t.Helper()
	for _, entry := range readObject(f.t, f.do(http.MethodGet, "/audit", ""), 200)["data"].([]any) {
		actions = append(actions, entry.(map[string]any)["action"])
	}
	return actions
}

// TestRestore restores a backup through the API.
//
//nolint:paralleltest // it changes the directory for temporary files
func TestRestore(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	f := newOperatorFixture(t)
	f.create(`{}`)
	backup := f.do(http.MethodGet, "/backup", "").Body.String()
	seen := 0
	f.shared.CheckBackup = func(path string) (tokenstore.Restored, error) {
		content, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err = errors.Join(err, statErr); err != nil || string(content) != backup || info.Mode().Perm() != 0o600 ||
			!strings.HasPrefix(path, temporary) {
			t.Errorf("got a copy at %s with %d bytes, error %v", path, len(content), err)
		}
		seen++
		return bolt.CheckBackup(path)
	}
	before := f.shared.Syncs()
	got := readObject(t, f.do(http.MethodPost, "/restore", backup, "Content-Type: ", octets), 200)
	if want := map[string]any{"tokens": 1.0, "audit_entries": 1.0}; !reflect.DeepEqual(got, want) || seen != 1 {
		t.Errorf("got %v after %d checks, want %v", got, seen, want)
	}
	if f.shared.Syncs() != before {
		t.Error("the call waited for other gates")
	}
	if got := f.audited(); got[0] != "restore" {
		t.Errorf("got audit entries %v", got)
	}
	if got := f.logs.FilterMessageSnippet("backup restored").Len(); got != 1 {
		t.Errorf("got %d log entries", got)
	}

	f.shared.CheckBackup = bolt.CheckBackup
	damaged := []byte(backup)
	copy(damaged[len(damaged)/2:], bytes.Repeat([]byte{0xff}, len(damaged)/2))
	for name, test := range map[string]struct{ body, want string }{
		"damaged":   {string(damaged), "The file can't be restored: "},
		"truncated": {backup[:len(backup)/2], "The file can't be restored: "},
		"foreign":   {strings.Repeat("not a store\n", 1000), "The file can't be restored: "},
		"short":     {"x", "The file can't be restored: "},
		"empty":     {"", "The body is empty."},
	} {
		w := f.do(http.MethodPost, "/restore", test.body, "Content-Type: ", octets)
		detail, _ := f.refused(w, 400, codeInvalidBackup)["detail"].(string)
		t.Logf("%s: %s", name, detail)
		if !strings.HasPrefix(detail, test.want) || strings.Contains(detail, temporary) {
			t.Errorf("%s: got %q", name, detail)
		}
	}
	f.refused(f.do(http.MethodPost, "/restore", backup), 415, codeMediaType,
		"detail=Send a single header 'Content-Type: application/octet-stream'.")
	r := httptest.NewRequest(http.MethodPost, "/restore", io.MultiReader(strings.NewReader(backup), failingReader{}))
	r.Header.Set("Content-Type", mediaTypeBinary)
	f.refused(f.serve(r), 400, codeInvalidBackup)
	f.loseContact(time.Second)
	detail := f.refused(f.do(http.MethodPost, "/restore", backup, "Content-Type: ", octets), 503, codeStore)["detail"]
	if !strings.HasPrefix(fmt.Sprint(detail), "Restoring the backup failed: this gate can't reach the shared store. ") {
		t.Errorf("without contact: got %v", detail)
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "mollygate-restore-*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %q, %v", left, err)
	}

	t.Setenv("TMPDIR", filepath.Join(temporary, "missing"))
	detail = f.refused(f.do(http.MethodPost, "/restore", backup, "Content-Type: ", octets), 503, codeStore)["detail"]
	if want := "The backup can't be saved in the server's directory for temporary files: no such file or directory. " +
		"Nothing was changed."; detail != want {
		t.Errorf("without a directory: got %v", detail)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestOperatorCalls checks where the calls for operators exist, and that they need a shared store.
func TestOperatorCalls(t *testing.T) {
	t.Parallel()
	site := newSharedFixture(t)
	single := newFixture(t, func(c *Config) { c.OperatorSessions = func() *Sessions { return new(Sessions) } })
	for _, path := range []string{"/restore", "/shared/accept"} {
		site.refused(site.do(http.MethodPost, path, "x", "Content-Type: ", octets), 404, codeNotFound)
		site.refused(site.do(http.MethodGet, path, ""), 404, codeNotFound)
		single.refused(single.do(http.MethodGet, path, ""), 405, codeMethod)
	}
	detail := single.refused(single.do(http.MethodPost, "/restore", "x", "Content-Type: ", octets), 409,
		codeConflict)["detail"].(string)
	if !strings.Contains(detail, "stop Caddy, run caddy api-token restore <backup>, and start Caddy") {
		t.Errorf("got %q", detail)
	}
	single.refused(single.do(http.MethodPost, "/shared/accept", ""), 409, codeConflict)
}

func TestAcceptShared(t *testing.T) {
	t.Parallel()
	f := newOperatorFixture(t)
	lose := func(problem error) { f.shared.Set(func(s *backendtest.SharedState) { s.Problem = problem }) }
	lose(tokenstore.ErrEmpty)
	f.refused(f.do(http.MethodPost, "/shared/accept", ""), 409, codeConflict)
	lose(tokenstore.ErrLostChanges)
	if got := f.do(http.MethodPost, "/shared/accept", "").Body.String(); got != `{"accepted":true}` {
		t.Errorf("got %s", got)
	}
	if got := f.audited(); !reflect.DeepEqual(got, []any{"accept store"}) {
		t.Errorf("got audit entries %v", got)
	}
	if got := f.logs.FilterMessageSnippet("may work again").Len(); got != 1 {
		t.Errorf("got %d log entries", got)
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	confirm := func(want string) {
		t.Helper()
		w := f.do(http.MethodPost, "/confirm", "")
		if got := w.Body.String(); w.Code != http.StatusOK || got != want {
			t.Errorf("got status %d and %s, want %s", w.Code, got, want)
		}
	}
	confirm(`{"gates":1,"missing":[]}`)
	f.shared.Set(func(s *backendtest.SharedState) {
		s.Nodes[1].Live, s.Nodes[1].LastSeen = true, start.Add(-time.Minute)
		s.Nodes = append(s.Nodes, tokenstore.Node{ID: "n3", Name: "gate-3", Live: true})
		s.Unconfirmed = []string{"n2"}
	})
	const missing = `{"gates":3,"missing":[{"id":"n2","name":"gate-2","version":null,"self":false,"live":%t,` +
		`"started_at":null,"last_seen_at":"2026-03-01T11:59:00Z","as_of":null,"age_seconds":null}]}`
	confirm(fmt.Sprintf(missing, true))
	f.shared.Set(func(s *backendtest.SharedState) { s.Nodes[1].Live = false })
	confirm(fmt.Sprintf(missing, false))
	f.loseContact(time.Second)
	detail := f.refused(f.do(http.MethodPost, "/confirm", ""), 503, codeStore)["detail"].(string)
	if !strings.HasPrefix(detail, "The gates can't be asked whether they have all changes: this gate can't reach") {
		t.Errorf("got %q", detail)
	}
	f.fixture = newFixture(t)
	confirm(`{"gates":0,"missing":[]}`)
}

// TestSharedCauses checks how refusals describe the causes of failed changes.
func TestSharedCauses(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	id, _ := f.create(`{}`)
	for cause, want := range map[error]string{
		tokenstore.ErrNoContact:   "this gate can't reach the shared store",
		tokenstore.ErrFull:        "the shared store is out of space",
		tokenstore.ErrDenied:      "the shared store denies this gate access",
		tokenstore.ErrReading:     "this gate is still reading the shared store",
		tokenstore.ErrLostChanges: "the shared store has lost changes",
	} {
		f.shared.Set(func(s *backendtest.SharedState) {
			s.Problem = fmt.Errorf("etcd (https://kv-1:2379) failed: %w", cause)
		})
		w := f.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
		detail := f.refused(w, 503, codeStore)["detail"].(string)
		if !strings.HasPrefix(detail, "Writing to the token store failed: "+want) || strings.Contains(detail, "kv-1") {
			t.Errorf("%v: got %q", cause, detail)
		}
	}
}
