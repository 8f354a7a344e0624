package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// overtaken is a backend that, while enabled, makes its own change to a token just before
// each requested change.
type overtaken struct {
	tokenstore.Backend
	on atomic.Bool
}

func (o *overtaken) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	return o.Backend.Apply(id, now, func(old *token.Token) (tokenstore.Change, error) {
		if old != nil && o.on.Load() {
			other := *old
			other.Version++
			old = &other
		}
		return change(old)
	})
}

// TestIfMatchInTheTransaction verifies that the version is checked inside the change's
// transaction.
func TestIfMatchInTheTransaction(t *testing.T) {
	t.Parallel()
	backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	overtaking := &overtaken{Backend: backend}
	clock := tokenstore.ClockFunc(func() time.Time { return start })
	store, err := tokenstore.Open(overtaking, tokenstore.Options{Clock: clock, FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f := newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return store, nil }
	})
	for _, call := range versionedCalls {
		id, _ := f.create(`{}`)
		before := f.do(http.MethodGet, "/tokens/"+id, "").Body.String()
		overtaking.on.Store(true)
		f.refused(f.do(call.method, "/tokens/"+id+call.path, call.body, `If-Match: "1"`), 412, "precondition_failed")
		overtaking.on.Store(false)
		if after := f.do(http.MethodGet, "/tokens/"+id, "").Body.String(); after != before {
			t.Errorf("%s %s: the token changed: got %s, want %s", call.method, call.path, after, before)
		}
		if w := f.do(call.method, "/tokens/"+id+call.path, call.body, `If-Match: "1"`); w.Code/100 != 2 {
			t.Errorf("%s %s, without a conflict: got status %d and body %s", call.method, call.path, w.Code, w.Body)
		}
	}
}

// TestIfMatchForms verifies that If-Match accepts matching versions and refuses other
// versions and malformed lists. Package etag tests all forms.
func TestIfMatchForms(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		headers []string
		matches bool
	}{
		{[]string{`"1"`}, true},
		{[]string{`*`}, true},
		{[]string{` * `}, true},
		{[]string{`"7"`, `"1"`}, true},
		// Tags changed by servers that compress responses (caddyserver/caddy#7096).
		{[]string{`W/"1"`}, true},
		{[]string{`"1-gzip"`}, true},
		{[]string{`"1-zstd"`}, true},
		{[]string{`W/"1-br"`}, true},
		{[]string{`"1;gzip"`}, true},
		{[]string{`"1--gzip"`}, true},
		{[]string{``}, false},
		{[]string{`""`}, false},
		{[]string{`"2"`}, false},
		{[]string{`"2-gzip"`}, false},
		{[]string{`W/"2"`}, false},
		{[]string{`"1-foo"`}, false},
		{[]string{`1`}, false},
		{[]string{`"18446744073709551617"`}, false},
		{[]string{`garbage, "1"`}, false},
		{[]string{`"1", *`}, false},
		{[]string{`*`, `*`}, false},
	} {
		for _, call := range versionedCalls {
			id, _ := f.create(`{}`)
			r := httptest.NewRequest(call.method, "/tokens/"+id+call.path, strings.NewReader(call.body))
			r.Header.Set("Content-Type", "application/json")
			r.Header["If-Match"] = test.headers
			w := f.serve(r)
			if test.matches != (w.Code/100 == 2) {
				t.Errorf("%s %s, %q: got status %d", call.method, call.path, test.headers, w.Code)
			}
			if !test.matches {
				f.refused(w, 412, "precondition_failed")
			}
		}
	}
	// A missing token takes precedence (RFC 9110 section 13.2.1).
	f.refused(f.do(http.MethodPatch, "/tokens/000000000000", `{}`, `If-Match: "1"`), 404, "not_found")
	f.refused(f.do(http.MethodDelete, "/tokens/000000000000", "", `If-Match: W/"1"`), 404, "not_found")
}
