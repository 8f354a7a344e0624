package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the ID of an unprivileged user.
const nobody = 65534

// TestJournalOfAnotherUser kills a Caddy, makes another user the owner of its store but not of
// its journal, and starts Caddy as that user. Caddy must serve and say how to fix the journal.
// After the fix, Caddy must add the counts of both processes, and the quota must include both
// processes' requests. Without root, the test has only one user and instead takes away that
// user's permission to read the journal.
func TestJournalOfAnotherUser(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	token := c.token("--scope", "test:allowed", "--quota", "12/month")
	status := func() int {
		t.Helper()
		status, _, _ := curl(t, append(bearer(token), c.url("/allowed"))...)
		return status
	}
	for range 7 {
		if got := status(); got != http.StatusOK {
			t.Fatalf("%d", got)
		}
	}
	c.kill()

	journal := c.path(usageFile)
	readable := func(is bool) {
		t.Helper()
		var err error
		switch {
		case os.Geteuid() == 0 && is:
			err = os.Chown(journal, nobody, nobody)
		case os.Geteuid() == 0:
			err = os.Chmod(filepath.Dir(binary), 0o711)
			c.attributes = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			_ = filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, walkErr error) error {
				if walkErr == nil && path != journal {
					walkErr = os.Chown(path, nobody, nobody)
				}
				if walkErr != nil {
					t.Error(walkErr)
				}
				return nil
			})
		case is:
			err = os.Chmod(journal, 0o600)
		default:
			err = os.Chmod(journal, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	readable(false)
	c.start(countingSite)
	for range 3 {
		if got := status(); got != http.StatusOK {
			t.Errorf("while the journal can't be read: got status %d", got)
		}
	}
	c.eventually("healthz warns", func() bool {
		return strings.Contains(c.getAdmin("/api_tokens/v1/healthz"),
			"Usage counts of an earlier Caddy process can't be read")
	})
	if log := c.output.String(); !strings.Contains(log, journal) || !strings.Contains(log, "chown ") ||
		!strings.Contains(log, "Caddy then adds its counts") {
		t.Errorf("the log doesn't say what to do:\n%s", log)
	}
	c.stop()
	readable(true)
	c.start(countingSite)
	var shown struct {
		Count int `json:"usage_count"`
	}
	if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(token))), &shown); err != nil ||
		shown.Count != 10 {
		t.Errorf("the server counted %d, want 10: %v", shown.Count, err)
	}
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if got := status(); got != want {
			t.Errorf("request %d: %d, want %d", 11+i, got, want)
		}
	}
	if got := c.getAdmin("/api_tokens/v1/healthz"); strings.Contains(got, "warning") {
		t.Errorf("got healthz %s", got)
	}
}
