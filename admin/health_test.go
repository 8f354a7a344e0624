package admin

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// elsewhere is a backend with its journal at the given path.
type elsewhere struct {
	tokenstore.Backend
	journal string
}

func (e elsewhere) JournalPath() string { return e.journal }

// TestHealthOfCounts verifies that healthz warns of counts that are missing or at risk
// without revealing the store's path.
func TestHealthOfCounts(t *testing.T) {
	t.Parallel()
	for want, path := range map[string]string{
		"": "journal",
		"Usage counts of an earlier Caddy process can't be": ".", // unreadable
		"Unsaved usage counts":                              "missing/journal",
	} {
		dir := t.TempDir()
		backend, err := bolt.Open(filepath.Join(dir, "tokens.db"))
		if err != nil {
			t.Fatal(err)
		}
		store, err := tokenstore.Open(elsewhere{backend, filepath.Join(dir, path)},
			tokenstore.Options{FlushInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		f := newFixture(t, func(c *Config) {
			c.Store = func(context.Context) (*tokenstore.Store, error) { return store, nil }
		})
		warning, _ := readObject(t, f.do(http.MethodGet, "/healthz", ""), 200)["warning"].(string)
		if !strings.HasPrefix(warning, want) || (want == "") != (warning == "") || strings.Contains(warning, dir) {
			t.Errorf("%s: got %q", path, warning)
		}
	}
}
