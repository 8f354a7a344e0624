package caddymodule

import (
	"testing"

	"github.com/mollygate/mollygate/token"
)

func TestDetachedRequests(t *testing.T) {
	t.Parallel()
	var d detachedRequests
	one, other := token.ID{1}, token.ID{2}
	first, second := d.take(one, 2), d.take(one, 2)
	if first == nil || second == nil || d.take(one, 2) != nil {
		t.Fatal("take didn't enforce the limit of 2 requests")
	}
	if d.take(other, 2) == nil {
		t.Error("one token's requests count toward another token's limit")
	}
	if d.take(one, -1) == nil {
		t.Error("take enforced a limit although -1 means no limit")
	}
	first()
	if d.take(one, 2) != nil {
		t.Error("take didn't count the request that had no limit")
	}
	second()
	if d.take(one, 2) == nil {
		t.Error("take didn't reuse a released slot")
	}
}

// TestDetachedRequestsFreesMemory checks that a token uses no memory after its last detached
// request.
func TestDetachedRequestsFreesMemory(t *testing.T) {
	t.Parallel()
	var d detachedRequests
	d.take(token.ID{1}, 1)()
	if len(d.byToken) != 0 {
		t.Errorf("the map contains %d tokens, want 0", len(d.byToken))
	}
}
