package bolt

import (
	"errors"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestBatchFails verifies that if a transaction fails, all its changes fail with the same
// error, because a refusal may depend on data that is not on disk.
func TestBatchFails(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	refused := &pending{id: token.ID([]byte("unknown00000")), now: testTime,
		change: func(*token.Token) (tokenstore.Change, error) {
			return tokenstore.Change{}, tokenstore.ErrNotFound
		}}
	failing := &pending{id: token.ID([]byte("failing00000")), now: testTime,
		change: func(*token.Token) (tokenstore.Change, error) {
			panic("the disk fails")
		}}
	b.commit([]*pending{refused})
	if refused.err != tokenstore.ErrNotFound {
		t.Errorf("the refused change alone: got err %v, want ErrNotFound", refused.err)
	}
	b.commit([]*pending{refused, failing})
	for _, p := range []*pending{refused, failing} {
		if !errors.Is(p.err, tokenstore.ErrUnavailable) || errors.Is(p.err, tokenstore.ErrNotFound) {
			t.Errorf("%s: got err %v, want ErrUnavailable", p.id, p.err)
		}
	}
}

// TestUncertainCommit covers the period in which it is unknown whether the last transaction is
// on disk. During that period, nothing is written and only single tokens can be read.
// Afterwards everything works again.
func TestUncertainCommit(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	tok := makeToken(t, s)
	h := b.current.Load()
	readOnly, err := os.Open(path)
	check(t, err)
	defer readOnly.Close()
	writable := h.file
	h.file = readOnly // makes rewriting the meta page fail
	h.uncertain.Store(true)
	nothing := func(*bbolt.Tx) error { return nil }
	for what, err := range map[string]error{"update": b.update(nothing), "view": b.view(nothing)} {
		if !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Errorf("%s: got err %v, want ErrUnavailable", what, err)
		}
	}
	if b.Health().Write == nil {
		t.Error("Health reports no write error")
	}
	if _, err := b.Token(tok.ID); err != nil {
		t.Errorf("Token: %v", err)
	}
	h.file = writable
	check(t, b.view(nothing))
	if h.uncertain.Load() {
		t.Error("the commit is still uncertain")
	}
	check(t, b.update(nothing))
	if err := b.Health().Write; err != nil {
		t.Errorf("Health still reports %v", err)
	}
}
