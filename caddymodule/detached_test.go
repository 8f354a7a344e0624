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
		t.Fatal("the limit of 2 isn't enforced")
	}
	if d.take(other, 2) == nil {
		t.Error("tokens share a limit")
	}
	if d.take(one, -1) == nil {
		t.Error("-1 isn't unlimited")
	}
	first()
	if d.take(one, 2) != nil {
		t.Error("the request beyond the limit wasn't counted")
	}
	second()
	if d.take(one, 2) == nil {
		t.Error("a released slot can't be taken again")
	}
}

// TestDetachedRequestsFreesMemory checks that a token without detached requests uses no
// memory.
func TestDetachedRequestsFreesMemory(t *testing.T) {
	t.Parallel()
	var d detachedRequests
	d.take(token.ID{1}, 1)()
	if len(d.byToken) != 0 {
		t.Errorf("%d tokens are in the map, want 0", len(d.byToken))
	}
}
