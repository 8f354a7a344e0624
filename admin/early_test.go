package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestEarlyDataChangesNothing verifies that changes sent in TLS early data are refused,
// because they may be replays.
func TestEarlyDataChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	compat := NewMollymawk(f.config)
	id, _ := f.create(`{}`)
	f.do(http.MethodPost, "/tokens/"+id+"/disable", "")
	before := f.do(http.MethodGet, "/tokens?limit=10", "").Body.String()
	for _, call := range append([]struct{ method, path, body string }{{http.MethodPost, "/session", `{"token":"x"}`}},
		append(bodyCalls, bareCalls...)...) {
		path := strings.ReplaceAll(call.path, "$ID", id)
		r := httptest.NewRequest(call.method, path, strings.NewReader(strings.ReplaceAll(call.body, "$ID", id)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Early-Data", "1")
		w := httptest.NewRecorder()
		if strings.HasPrefix(path, MollymawkPath) {
			compat.ServeHTTP(w, r)
		} else {
			w = f.serve(r)
		}
		f.refused(w, 425, "too_early")
	}
	// The TLS handshake isn't complete yet.
	for _, method := range []string{http.MethodPost, http.MethodPut, "FOO"} {
		r := httptest.NewRequest(method, "https://x/tokens/"+id+"/enable", nil)
		r.TLS.HandshakeComplete = false
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		f.refused(w, 425, "too_early")
	}
	if after := f.do(http.MethodGet, "/tokens?limit=10", "").Body.String(); after != before {
		t.Errorf("the token changed: got %s, want %s", after, before)
	}
	if w := f.do(http.MethodGet, "/tokens", "", "Early-Data: 1"); w.Code != http.StatusOK {
		t.Errorf("reading: got status %d", w.Code)
	}
}
