package admin

import (
	"net/http"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestRepeatReturnsCurrentToken verifies that a repeated request returns the current
// token, and that idempotency keys are separate per actor.
func TestRepeatReturnsCurrentToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const key = "Idempotency-Key: \"once\"" // the quotes are part of the key
	created := readObject(t, f.do(http.MethodPost, "/tokens", goodBody, key), http.StatusCreated)
	id := created["id"].(string)
	readObject(t, f.do(http.MethodPatch, "/tokens/"+id, `{"name":"renamed"}`), 200)
	f.use(created["token"].(string), 2, tokenstore.LastUse{Time: f.store.Now()})
	w := f.do(http.MethodPost, "/tokens", goodBody, key)
	if again := f.do(http.MethodGet, "/tokens/"+id, ""); w.Code != http.StatusOK ||
		w.Body.String() != again.Body.String() || w.Header().Get("ETag") != `"2"` {
		t.Errorf("got status %d, ETag %s and body %s, but the token is %s", w.Code, w.Header().Get("ETag"),
			w.Body, again.Body)
	}
	if n := f.logs.FilterMessage("token created").Len(); n != 1 {
		t.Errorf("got %d logged tokens", n)
	}
	if w := f.do(http.MethodPost, "/tokens", goodBody, "Idempotency-Key: once"); w.Code != http.StatusCreated {
		t.Errorf("without the quotes: got status %d", w.Code)
	}
	other := *f
	config := f.config
	config.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) {
		return tokenstore.Actor{Name: "alice"},
			nil
	}
	other.handler = New(config)
	if w := other.do(http.MethodPost, "/tokens", goodBody, key); w.Code != http.StatusCreated {
		t.Errorf("another actor: got status %d and body %s", w.Code, w.Body)
	}
	// A refused request doesn't use up its key.
	f.refused(f.do(http.MethodPost, "/tokens", `{"name":"a"}`, "Idempotency-Key: k"), 400, "invalid_field")
	if w := f.do(http.MethodPost, "/tokens", goodBody, "Idempotency-Key: k"); w.Code != http.StatusCreated {
		t.Errorf("after a refusal: got status %d and body %s", w.Code, w.Body)
	}
	f.do(http.MethodDelete, "/tokens/"+id, "")
	f.refused(f.do(http.MethodPost, "/tokens", goodBody, key), 409, "conflict")
}
