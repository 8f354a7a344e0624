package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// troubled is a backend whose counters are in trouble.
type troubled struct {
	tokenstore.Backend
	err    error
	tended chan struct{}
}

func (t troubled) TendCounters() error {
	select {
	case t.tended <- struct{}{}:
	default:
	}
	return t.err
}

// TestHealthOfCounts verifies that healthz warns of counts that are missing or at risk,
// and tells nothing of where the store is.
func TestHealthOfCounts(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"": nil,
		"Counts of an earlier Caddy process can't be": fmt.Errorf("%w: /secret/path", tokenstore.ErrCountsUnread),
		"Counts that aren't saved yet w":              errors.New("/secret/path"),
	} {
		backend, openErr := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
		if openErr != nil {
			t.Fatal(openErr)
		}
		tended := make(chan struct{})
		store, openErr := tokenstore.Open(troubled{backend, err, tended}, tokenstore.Options{FlushInterval: time.Millisecond})
		if openErr != nil {
			t.Fatal(openErr)
		}
		t.Cleanup(func() { _ = store.Close() })
		<-tended
		<-tended // after the first has been noted
		f := newFixture(t, func(c *Config) {
			c.Store = func(context.Context) (*tokenstore.Store, error) { return store, nil }
		})
		warning, _ := answered(t, f.do(http.MethodGet, "/healthz", ""), 200)["warning"].(string)
		if !strings.HasPrefix(warning, want) || (want == "") != (warning == "") || strings.Contains(warning, "secret") {
			t.Errorf("%v: %q", err, warning)
		}
	}
}
