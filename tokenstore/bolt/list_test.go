package bolt

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
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

// inOrder compares by the order's own rule.
func inOrder(order tokenstore.Order) func(a, b *token.Token) int {
	return func(a, b *token.Token) int {
		first, second := a.CreatedAt, b.CreatedAt
		if order == tokenstore.OrderExpires {
			first, second = a.ExpiresAt, b.ExpiresAt
			if first.IsZero() != second.IsZero() {
				return map[bool]int{true: 1, false: -1}[first.IsZero()]
			}
		}
		return cmp.Or(first.Compare(second), bytes.Compare(a.ID[:], b.ID[:]))
	}
}

// TestListPages walks both orders both ways in pages of every size, while tokens
// are deleted and made between the pages: those that stay are seen once each.
func TestListPages(t *testing.T) {
	t.Parallel()
	for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
		for _, descending := range []bool{false, true} {
			for _, limit := range []int{1, 2, 3, 7, 50} {
				t.Run(fmt.Sprintf("order %d, descending %v, pages of %d", order, descending, limit), func(t *testing.T) {
					t.Parallel()
					testListPages(t, order, descending, limit)
				})
			}
		}
	}
}

func testListPages(t *testing.T, order tokenstore.Order, descending bool, limit int) {
	t.Helper()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
	random := rand.New(rand.NewPCG(1, uint64(limit)))
	// Times that many share, before and after 1970, and tokens without end.
	moment := func() time.Time { return time.Unix(int64(random.IntN(9)-4)*1_000_000_000, 0).UTC() }
	tokens := make(map[token.ID]*token.Token)
	next := 0
	add := func() *token.Token {
		created, expires := moment(), moment()
		if random.IntN(4) == 0 {
			expires = time.Time{}
		}
		next++
		return putToken(t, b, next, created, expires)
	}
	for range 60 {
		token := add()
		tokens[token.ID] = token
	}
	seen := make(map[token.ID]int)
	var walk []*token.Token
	page := tokenstore.Page{Order: order, Descending: descending, Limit: limit}
	for pages := 0; ; pages++ {
		if pages > 200 {
			t.Fatal("the walk doesn't end")
		}
		found, after, err := s.List(page)
		check(t, err)
		for _, token := range found {
			seen[token.Token.ID]++
			walk = append(walk, token.Token)
		}
		if after == nil {
			break
		}
		page.After = after
		// The token at the position goes, and another somewhere; others come.
		last := found[len(found)-1].Token
		if random.IntN(2) == 0 {
			check(t, s.Delete(last.ID, token.AnyVersion, testActor))
		}
		for id, tok := range tokens {
			if seen[id] == 0 && random.IntN(10) == 0 {
				check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
				delete(tokens, id)
				break
			}
		}
		add()
	}
	for id := range tokens {
		if seen[id] != 1 {
			t.Errorf("token %s is seen %d times", id, seen[id])
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("token %s is seen %d times", id, n)
		}
	}
	compare := inOrder(order)
	if descending {
		compare = func(a, b *token.Token) int { return inOrder(order)(b, a) }
	}
	if !slices.IsSortedFunc(walk, compare) {
		t.Error("the walk is out of order")
	}
	checkConsistent(t, b)
}

// TestListFromAnyPosition begins at positions of tokens that never were.
func TestListFromAnyPosition(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	for i := range 5 {
		putToken(t, b, i, at(int64(i)*10), time.Time{})
	}
	for _, c := range []struct {
		second     int64
		id         string
		descending bool
		want       string
	}{
		{-1, "", false, "01234"}, {-1, "", true, ""}, {0, "", false, "01234"}, {0, "", true, ""},
		{0, "token0000000", false, "1234"}, {0, "token0000000", true, ""}, {0, "zzzzzzzzzzzz", true, "0"},
		{20, "token0000002", false, "34"}, {20, "token0000002", true, "10"}, {15, "", false, "234"}, {15, "", true, "10"},
		{40, "token0000004", false, ""}, {40, "token0000004", true, "3210"}, {99, "", false, ""}, {99, "", true, "43210"},
	} {
		position := &tokenstore.Position{Time: at(c.second)}
		copy(position.ID[:], c.id)
		got := ""
		check(t, b.List(tokenstore.OrderCreated, position, c.descending, func(token *token.Token) bool {
			got += string(token.ID[len(token.ID)-1])
			return true
		}))
		if got != c.want {
			t.Errorf("after %d %q, descending %v: %q, want %q", c.second, c.id, c.descending, got, c.want)
		}
	}
	empty := mustOpen(t, newPath(t))
	for _, descending := range []bool{false, true} {
		for _, position := range []*tokenstore.Position{nil, {}, {Time: testTime}} {
			check(t, empty.List(tokenstore.OrderExpires, position, descending, func(*token.Token) bool {
				t.Error("an empty store lists a token")
				return false
			}))
		}
	}
}

// TestListLeavesOutDamaged: what can't be read isn't listed, and what stands at a
// wrong place leads no walk astray.
func TestListLeavesOutDamaged(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
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
	if want := []token.ID{ids[0], ids[2], ids[4], ids[5]}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
