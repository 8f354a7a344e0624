package bolt

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Scan implements tokenstore.Backend. Tokens and usage have the same keys, so Scan walks both
// buckets in parallel instead of looking up each usage record.
func (b *Backend) Scan(after token.ID, yield func(*token.Token, tokenstore.Usage) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		var reader tokenstore.Reader
		tokens, used := tx.Bucket(tokensBucket).Cursor(), tx.Bucket(usageBucket).Cursor()
		usedKey, usage := used.Seek(after[:])
		for key, record := seekAfter(tokens, after[:]); key != nil; key, record = tokens.Next() {
			if len(key) != len(after) {
				continue
			}
			id := token.ID(key)
			tok, err := reader.Token(id, record)
			if err != nil {
				tok = &token.Token{ID: id, Damaged: true}
			}
			for usedKey != nil && bytes.Compare(usedKey, key) < 0 {
				usedKey, usage = used.Next()
			}
			var total tokenstore.Usage
			if bytes.Equal(usedKey, key) {
				total, _ = reader.Usage(id, usage) // zero if damaged
			}
			if !yield(tok, total) {
				return nil
			}
		}
		return nil
	})
}
