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
		t.Fatal("the limit of 2 isn't kept")
	}
	if d.take(other, 2) == nil {
		t.Error("another token has no requests of its own")
	}
	if d.take(one, -1) == nil {
		t.Error("-1 is a limit")
	}
	first()
	if d.take(one, 2) != nil {
		t.Error("the one beyond the limit was forgotten")
	}
	second()
	if d.take(one, 2) == nil {
		t.Error("what was given back can't be taken")
	}
}

// TestDetachedRequestsAreForgotten: a token without such requests takes no memory.
func TestDetachedRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	var d detachedRequests
	d.take(token.ID{1}, 1)()
	if len(d.byToken) != 0 {
		t.Errorf("%d tokens are counted", len(d.byToken))
	}
}
