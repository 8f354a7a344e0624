package caddymodule

import (
	"errors"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// TestListTooLong checks that a list that is too long is reported as such. Caddy's proxy aborts a
// response that it can't write.
func TestListTooLong(t *testing.T) {
	t.Parallel()
	h := &BearerAuth{app: &App{}}
	h.chain.Store(&backendChain{server: new(caddyhttp.Server), next: caddyhttp.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) error {
			for piece := make([]byte, 1<<20); ; {
				if _, err := w.Write(piece); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		})})
	account := new(Account)
	account.setToken("")
	names, err := h.list(t.Context(), &gate.Route{Method: http.MethodGet, Path: "/list", Listing: lines}, account)
	if !errors.Is(err, errTooLong) {
		t.Errorf("got %v, error %v", names, err)
	}
}
