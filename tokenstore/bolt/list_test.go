package bolt

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// putToken stores a token with these times.
func putToken(t testing.TB, b *Backend, i int, created, expires time.Time) *token.Token {
	t.Helper()
	tok := &token.Token{
		ID:    token.ID([]byte(fmt.Sprintf("token%07d", i))),
		Terms: token.Terms{Kind: token.KindAPI}, Format: token.FormatNative, CreatedAt: created, ExpiresAt: expires,
		Digest: sha256.Sum256([]byte(fmt.Sprint(i))), Version: 1,
	}
	_, err := b.Apply(tok.ID, testTime, func(*token.Token) (tokenstore.Change, error) {
		return tokenstore.Change{Token: tok, Audit: tokenstore.AuditEntry{Time: testTime, TokenID: tok.ID}}, nil
	})
	check(t, err)
	return tok
}

// TestListDamaged verifies that List marks unreadable tokens as damaged and skips index
// entries in wrong positions.
func TestListDamaged(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	var ids []token.ID
	for i := range 6 {
		ids = append(ids, putToken(t, b, i, time.Unix(int64(i), 0).UTC(), time.Time{}).ID)
	}
	check(t, b.update(func(tx *bbolt.Tx) error {
		record := bytes.Clone(tx.Bucket(tokensBucket).Get(ids[1][:]))
		record[0] ^= 1
		misplaced := positionKey(tokenstore.OrderCreated, tokenstore.Position{Time: time.Unix(1000, 0), ID: ids[2]})
		for _, err := range []error{
			tx.Bucket(tokensBucket).Put(ids[1][:], record),
			tx.Bucket(tokensBucket).Delete(ids[3][:]),
			tx.Bucket(createdBucket).Put(misplaced, nil),
			tx.Bucket(createdBucket).Put([]byte("short"), nil),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	}))
	var got []token.ID
	page := tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1}
	for range 10 {
		tokens, after, err := s.List(page)
		check(t, err)
		for _, token := range tokens {
			got = append(got, token.Token.ID)
		}
		if page.After = after; after == nil {
			break
		}
	}
	if want := []token.ID{ids[0], ids[1], ids[2], ids[4], ids[5]}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
