package backendtest

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func second(n int) time.Time { return time.Unix(int64(n), 0).UTC() }

// compare returns the comparison function for an order.
func compare(order tokenstore.Order, descending bool) func(a, b *token.Token) int {
	return func(a, b *token.Token) int {
		if descending {
			a, b = b, a
		}
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

// someToken returns a token with random times before and after 1970, sometimes without an
// expiry. Several tokens are likely to have the same times.
func someToken(random *rand.Rand, i int) *token.Token {
	token := newToken(i)
	token.CreatedAt, token.ExpiresAt = second((random.IntN(9)-4)*1e9), second((random.IntN(9)-4)*1e9)
	if random.IntN(4) == 0 {
		token.ExpiresAt = time.Time{}
	}
	return token
}

// testList lists tokens starting from the positions of existing and nonexistent tokens.
func testList(s *suite) {
	for i := range 5 {
		if i == 0 {
			for _, descending := range []bool{false, true} {
				for _, position := range []*tokenstore.Position{nil, {}, {Time: now}} {
					if got := s.list(tokenstore.OrderExpires, position, descending); len(got) > 0 {
						s.Errorf("listing an empty store: got %v, want none", got)
					}
				}
			}
		}
		token := newToken(i)
		token.CreatedAt = second(10 * i)
		s.put(token)
	}
	for _, c := range []struct {
		second     int
		id         string
		descending bool
		want       string
	}{
		{-1, "", false, "01234"}, {-1, "", true, ""}, {0, "", false, "01234"}, {0, "", true, ""},
		{0, "token0000000", false, "1234"}, {0, "token0000000", true, ""}, {0, "zzzzzzzzzzzz", true, "0"},
		{20, "token0000002", false, "34"}, {20, "token0000002", true, "10"}, {15, "", false, "234"},
		{15, "", true, "10"},
		{40, "token0000004", false, ""}, {40, "token0000004", true, "3210"}, {99, "", false, ""},
		{99, "", true, "43210"},
	} {
		position := &tokenstore.Position{Time: second(c.second)}
		copy(position.ID[:], c.id)
		var got []byte
		for _, token := range s.list(tokenstore.OrderCreated, position, c.descending) {
			got = append(got, token.ID[len(token.ID)-1])
		}
		if string(got) != c.want {
			s.Errorf("list after %d %q, descending %v: got %q, want %q", c.second, c.id, c.descending, got, c.want)
		}
	}
}

// testPages lists tokens page by page, in both orders and directions and with several page
// sizes. Some tokens change between pages; all others must appear exactly once, in order.
func testPages(s *suite) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec
	next := 0
	stored := make(map[token.ID]*token.Token)
	add := func() {
		next++
		token := someToken(random, next)
		stored[token.ID] = token
		s.put(token)
	}
	for range 30 {
		add()
	}
	for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
		for _, descending := range []bool{false, true} {
			for _, limit := range []int{1, 3, 40} {
				wanted := make(map[token.ID]bool)
				for id := range stored {
					wanted[id] = true
				}
				var walk []*token.Token
				for after := (*tokenstore.Position)(nil); ; {
					n := 0
					s.check(s.List(order, after, descending, func(token *token.Token) bool {
						walk = append(walk, token)
						n++
						return n < limit
					}))
					if n > limit {
						s.Fatalf("yield was called %d times, but returned false after %d", n, limit)
					}
					if n == 0 {
						break
					}
					last := walk[len(walk)-1]
					position := order.PositionOf(last)
					after = &position
					if random.IntN(4) > 0 {
						continue
					}
					// Delete the token at the current position, move another token and add a
					// new one.
					s.remove(last.ID)
					delete(stored, last.ID)
					for id := range stored {
						moved := someToken(random, 0)
						moved.ID, moved.Digest = id, stored[id].Digest
						s.put(moved)
						stored[id] = moved
						delete(wanted, id)
						break
					}
					add()
				}
				seen := make(map[token.ID]int)
				for _, token := range walk {
					seen[token.ID]++
				}
				for id := range wanted {
					if seen[id] != 1 {
						s.Errorf("order %d, descending %v, pages of %d: token %s appeared %d times", order, descending,
							limit, id, seen[id])
					}
				}
				if !slices.IsSortedFunc(walk, compare(order, descending)) {
					s.Errorf("order %d, descending %v, pages of %d: tokens are out of order", order, descending, limit)
				}
			}
		}
	}
	// Tokens passed to yield remain valid.
	listed := s.list(tokenstore.OrderExpires, nil, false)
	if len(listed) != len(stored) {
		s.Errorf("List returned %d tokens, want %d", len(listed), len(stored))
	}
	for _, token := range listed {
		s.equal("listed", token, stored[token.ID])
	}
}

// testScan verifies that Scan returns all tokens in ID order, with their usage.
func testScan(s *suite) {
	used := tokenstore.Usage{Allowed: 3, Denied: 4, Last: tokenstore.LastUse{Time: now, IP: "::1", UserAgent: "curl",
		Route: "GET /x"}}
	for _, i := range []int{5, 1, 3, 4, 2} {
		token := newToken(i)
		if i == 3 {
			token = wholeToken(i)
		}
		s.put(token)
	}
	s.check(s.save(now, tokenstore.FlushState{}, map[token.ID]tokenstore.Usage{idOf(3): used, idOf(5): {Denied: 1}}))
	scan := func(after token.ID, most int) (found []token.ID) {
		s.Helper()
		s.check(s.Scan(after, func(tok *token.Token, usage tokenstore.Usage) bool {
			// Compare here, because tok is valid only during the call.
			want, wantUsage := newToken(int(tok.ID[len(tok.ID)-1]-'0')), tokenstore.Usage{}
			switch tok.ID {
			case idOf(3):
				want, wantUsage = wholeToken(3), used
			case idOf(5):
				wantUsage = tokenstore.Usage{Denied: 1}
			}
			// Compare the encodings, because with reused memory, empty slices and maps may be
			// non-nil.
			if !reflect.DeepEqual(token.EncodeToken(tok), token.EncodeToken(want)) ||
				!reflect.DeepEqual(usage, wantUsage) {
				s.Errorf("Scan returned %+v, %+v, want %+v, %+v", tok, usage, want, wantUsage)
			}
			found = append(found, tok.ID)
			return len(found) < most
		}))
		return found
	}
	unknown := idOf(3)
	unknown[0]-- // lower than all IDs
	s.equal("all", scan(token.ID{}, 9), []token.ID{idOf(1), idOf(2), idOf(3), idOf(4), idOf(5)})
	s.equal("after an unknown ID", scan(unknown, 9), []token.ID{idOf(1), idOf(2), idOf(3), idOf(4), idOf(5)})
	s.equal("after a token", scan(idOf(2), 9), []token.ID{idOf(3), idOf(4), idOf(5)})
	s.equal("until false", scan(idOf(2), 2), []token.ID{idOf(3), idOf(4)})
	s.remove(idOf(2))
	s.equal("after a deleted token", scan(idOf(2), 9), []token.ID{idOf(3), idOf(4), idOf(5)})
	s.equal("after the last", scan(idOf(5), 9), []token.ID(nil))
}
