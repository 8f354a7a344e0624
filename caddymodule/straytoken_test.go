package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/token"
)

// TestTokenInURLBeforeStoreIsOpen checks that a token in the URL is refused with the correct
// code even while the store is being opened, and that error routes never handle the refusal.
func TestTokenInURLBeforeStoreIsOpen(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	app := &App{policy: token.Policy{Prefixes: token.Prefixes{"mm"}}, store: sharedStore{ready: make(chan struct{})}}
	h := &BearerAuth{Realm: "x", Refusals: refusalsByErrorRoutes, app: app,
		logger: app.redactor().logger(zap.New(core))}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for target, want := range map[string]int{
		"/?t=" + unknownToken: http.StatusBadRequest,
		"/":                   http.StatusServiceUnavailable,
	} {
		w := httptest.NewRecorder()
		err := h.ServeHTTP(w, preparedRequest(gone, target), nil)
		if want == http.StatusBadRequest {
			if err != nil || w.Code != want || !strings.Contains(w.Body.String(), "token_in_url") {
				t.Errorf("%s: got response %d %s, error %v", target, w.Code, w.Body, err)
			}
		} else if handlerErr, ok := err.(caddyhttp.HandlerError); !ok || handlerErr.StatusCode != want {
			t.Errorf("%s: got error %v, want status %d", target, err, want)
		}
	}
	for _, line := range logs.All() {
		if text := line.Message + line.ContextMap()["uri"].(string); strings.Contains(text, unknownToken[17:]) {
			t.Errorf("the log contains a token: %s", text)
		}
	}
	if logs.Len() != 2 {
		t.Errorf("got %d log entries, want 2", logs.Len())
	}
}

func TestStrayWarnings(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	var warnings strayWarnings
	r := preparedRequest(t.Context(), "/")
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, 0, time.Second, 59 * time.Second, time.Minute, 90 * time.Second, time.Hour,
		-time.Hour, -time.Hour} {
		warnings.note(zap.New(core), r, strayTokens{headers: []string{"X-Junk"}}, start.Add(after))
	}
	var suppressed []int64
	for _, line := range logs.All() {
		suppressed = append(suppressed, line.ContextMap()["suppressed"].(int64))
		if ip := line.ContextMap()["client_ip"]; ip != "192.0.2.1" {
			t.Errorf("got client_ip %v", ip)
		}
	}
	if want := []int64{0, 3, 1, 0}; len(suppressed) != len(want) || suppressed[0] != want[0] ||
		suppressed[1] != want[1] || suppressed[2] != want[2] || suppressed[3] != want[3] {
		t.Errorf("got suppressed counts %v, want %v", suppressed, want)
	}
}
