package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() { registerHandler("lasting", lastingHandler) }

// lasting receives nil when an answer has begun, and then why it ended.
var lasting = make(chan error)

// lastingHandler begins an answer without a length, in the way that the query says, and
// then waits until it is told to end.
func lastingHandler(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	_, _ = io.WriteString(w, "a")
	switch r.URL.RawQuery {
	case "write":
		_, _ = io.WriteString(w, "b")
	case "flush":
		_ = http.NewResponseController(w).Flush()
	}
	lasting <- nil
	select {
	case <-r.Context().Done():
		lasting <- r.Context().Err()
	case <-time.After(10 * time.Second):
		lasting <- errors.New("it went on")
	}
	return nil
}

// TestLastingAnswers: an answer of a handler of Caddy's own, too, ends with its token
// once it comes in parts.
func TestLastingAnswers(t *testing.T) {
	sites, text := loadChains(t)
	module, err := caddy.ActiveContext().App(appName)
	if err != nil {
		t.Fatal(err)
	}
	store, err := module.(*App).Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := token.ParseID(text[4:16])
	if err != nil {
		t.Fatal(err)
	}
	actor := tokenstore.Actor{Name: "test"}
	for _, way := range []string{"write", "flush"} {
		r := httptest.NewRequest(http.MethodGet, "/api/unikernels?"+way, strings.NewReader(""))
		r.Host = "gated-lasting"
		r.Header = http.Header{"Authorization": {"Bearer " + text}}
		go sites["gated-lasting"].ServeHTTP(httptest.NewRecorder(), r)
		if err := <-lasting; err != nil {
			t.Fatal(err)
		}
		if _, err := store.Disable(id, token.AnyVersion, actor); err != nil {
			t.Fatal(err)
		}
		if err := <-lasting; err == nil || err.Error() != "context canceled" {
			t.Errorf("%s: the answer ended with %v", way, err)
		}
		if _, err := store.Enable(id, token.AnyVersion, actor); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEventsAreNotWaitedFor: what doesn't fit is counted, and nobody who causes it waits.
func TestEventsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	q := &eventQueue{waiting: make(chan tokenstore.Event, 1)}
	for range 3 {
		q.add(tokenstore.Event{})
	}
	if lost := q.lost.Load(); lost != 2 {
		t.Errorf("%d events are lost, want 2", lost)
	}
}
