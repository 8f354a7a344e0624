package bolt

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Scan implements tokenstore.Backend.
func (b *Backend) Scan(after token.ID, yield func(*token.Token, tokenstore.Usage) bool) error {
	return b.scan(after, [][]byte{usageBucket}, yield)
}

// scan is Scan with the sum of the usage in the given buckets. The keys of both tokens and usage
// start with the token's ID, so scan walks all buckets in parallel instead of looking up each
// usage record.
func (b *Backend) scan(after token.ID, usage [][]byte, yield func(*token.Token, tokenstore.Usage) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		var reader tokenstore.Reader
		tokens := tx.Bucket(tokensBucket).Cursor()
		walks := make([]usageWalk, len(usage))
		for i, name := range usage {
			walks[i].start(tx.Bucket(name).Cursor(), after)
		}
		for key, record := seekAfter(tokens, after[:]); key != nil; key, record = tokens.Next() {
			if len(key) != len(after) {
				continue
			}
			id := token.ID(key)
			tok, err := reader.Token(id, record)
			if err != nil {
				tok = &token.Token{ID: id, Damaged: true}
			}
			var sum usageSum
			for i := range walks {
				walks[i].addTo(&sum, id)
			}
			if !yield(tok, sum.total) {
				return nil
			}
		}
		return nil
	})
}

// usageWalk reads the usage of one token after another.
type usageWalk struct {
	cursor      *bbolt.Cursor
	key, record []byte
	reader      tokenstore.Reader
}

func (w *usageWalk) start(cursor *bbolt.Cursor, after token.ID) {
	w.cursor = cursor
	w.key, w.record = cursor.Seek(after[:])
}

// addTo adds the token's usage to sum. It skips damaged records. Later calls must pass greater
// IDs.
func (w *usageWalk) addTo(sum *usageSum, id token.ID) {
	for w.key != nil && bytes.Compare(w.key, id[:]) < 0 {
		w.key, w.record = w.cursor.Next()
	}
	for ; bytes.HasPrefix(w.key, id[:]); w.key, w.record = w.cursor.Next() {
		if used, err := w.reader.Usage(id, w.record); err == nil {
			sum.add(used)
		}
	}
}

// usageSum adds up usage. Most tokens have one record, for which add does nothing else.
type usageSum struct {
	total    tokenstore.Usage
	nonempty bool
}

func (s *usageSum) add(used tokenstore.Usage) {
	if s.nonempty {
		used = s.total.Plus(used)
	}
	s.total, s.nonempty = used, true
}
