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

func init() { registerHandler("streaming", streamingHandler) }

// streaming receives nil when a response has begun, and then the reason it ended.
var streaming = make(chan error)

// streamingHandler begins a response without a length and waits until the request is canceled.
// The query selects how it begins the response.
func streamingHandler(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	_, _ = io.WriteString(w, "a")
	switch r.URL.RawQuery {
	case "write":
		_, _ = io.WriteString(w, "b")
	case "flush":
		_ = http.NewResponseController(w).Flush()
	}
	streaming <- nil
	select {
	case <-r.Context().Done():
		streaming <- r.Context().Err()
	case <-time.After(10 * time.Second):
		streaming <- errors.New("the request was not canceled")
	}
	return nil
}

// TestStreamedResponseEndsWithToken checks that a streamed response ends when its token is
// disabled, even if one of Caddy's own handlers sends it.
func TestStreamedResponseEndsWithToken(t *testing.T) {
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
		r.Host = "gated-streaming"
		r.Header = http.Header{"Authorization": {"Bearer " + text}}
		go sites["gated-streaming"].ServeHTTP(httptest.NewRecorder(), r)
		if err := <-streaming; err != nil {
			t.Fatal(err)
		}
		if _, err := store.Disable(id, token.AnyVersion, actor); err != nil {
			t.Fatal(err)
		}
		if err := <-streaming; err == nil || err.Error() != "context canceled" {
			t.Errorf("%s: the response ended with error %v, want context canceled", way, err)
		}
		if _, err := store.Enable(id, token.AnyVersion, actor); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEventQueueNeverBlocks checks that a full queue drops and counts new events instead of
// blocking.
func TestEventQueueNeverBlocks(t *testing.T) {
	t.Parallel()
	q := &eventQueue{waiting: make(chan tokenstore.Event, 1)}
	for range 3 {
		q.add(tokenstore.Event{})
	}
	if lost := q.lost.Load(); lost != 2 {
		t.Errorf("got %d dropped events, want 2", lost)
	}
}
