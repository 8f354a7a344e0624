package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestStoreWritableByOthers checks that Caddy warns about a store that other users can write
// to, at startup, on reload and in validate, and doesn't warn otherwise.
func TestStoreWritableByOthers(t *testing.T) {
	t.Parallel()
	const warning = "other users may change the token store"
	s := startSite(t, plainSite, mollymawktest.Options{})
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.output.String(), "token store, ") {
		t.Errorf("Caddy warns about a store with safe permissions: %s", s.output)
	}
	if err := os.Chmod(s.path("tokens.db"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(s.output.String(), warning); n != 1 {
		t.Errorf("a reload warned %d times, want 1", n)
	}
	out, err := s.command("validate", "--config", s.path("Caddyfile")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), warning) ||
		!strings.Contains(string(out), "chmod 600 "+s.path("tokens.db")) {
		t.Errorf("got validate output %s", out)
	}
	s.stop()
	before := strings.Count(s.output.String(), warning)
	s.start(plainSite)
	if n := strings.Count(s.output.String(), warning) - before; n != 1 {
		t.Errorf("a start warned %d times, want 1", n)
	}
}
