package admin

import (
	"net/http"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestTokenResources verifies that the last day of each of a token's resources is shown, and that
// it is kept if the token is bound to the same resource again.
func TestTokenResources(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{"resources":["unikernel/web-*","volume/db"]}`)
	match, err := f.authenticate(secret)
	if err != nil {
		t.Fatal(err)
	}
	f.store.CountAllowedOn(match, "unikernel:create", []string{"block/db"}, tokenstore.LastUse{Time: f.store.Now()})
	check := func(want string) {
		t.Helper()
		if w := f.do(http.MethodGet, "/tokens/"+id+"/resources", ""); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("got status %d and %s, want %s", w.Code, w.Body, want)
		}
	}
	const used = `{"resource":"block/db","last_used_on":"2026-03-01T00:00:00Z"}`
	check(`{"data":[` + used + `,{"resource":"unikernel/web-*","last_used_on":null}]}`)
	for _, step := range []struct{ patch, want string }{{`{"resources":null}`, ""}, {`{"resources":["block/db"]}`, used}} {
		if w := f.do(http.MethodPatch, "/tokens/"+id, step.patch); w.Code != http.StatusOK {
			t.Fatalf("got status %d and %s", w.Code, w.Body)
		}
		check(`{"data":[` + step.want + `]}`)
	}
	f.refused(f.do(http.MethodGet, "/tokens/000000000000/resources", ""), 404, "not_found")
}
