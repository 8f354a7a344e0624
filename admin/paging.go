package admin

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// sortKey is what a list is sorted by. The numbers are in cursors.
type sortKey byte

const (
	sortCreatedAt sortKey = iota + 1
	sortExpiresAt
	sortName
	sortLastUsedAt
	sortUsageCount
)

var sortKeys = []struct {
	name string
	key  sortKey
}{
	{"created_at", sortCreatedAt},
	{"expires_at", sortExpiresAt},
	{"name", sortName},
	{"last_used_at", sortLastUsedAt},
	{"usage_count", sortUsageCount},
}

func sortNames() []string {
	var names []string
	for _, s := range sortKeys {
		names = append(names, s.name)
	}
	return names
}

type sorting struct {
	key        sortKey
	descending bool
}

func parseSorting(text string) (sorting, bool) {
	name, descending := strings.CutPrefix(text, "-")
	for _, s := range sortKeys {
		if s.name == name {
			return sorting{s.key, descending}, true
		}
	}
	return sorting{}, false
}

// kept says whether the store keeps tokens in this order, so that a page costs no
// more than its length.
func (s sorting) kept() (tokenstore.Order, bool) {
	switch s.key {
	case sortCreatedAt:
		return tokenstore.OrderCreated, true
	case sortExpiresAt:
		return tokenstore.OrderExpires, true
	default:
		return tokenstore.OrderCreated, false
	}
}

// place is where a token stands in an order: its value there, then its id.
type place struct {
	// text is the value of sortName, number that of all others; times are
	// microseconds since 1970.
	text   string
	number int64
	id     token.ID
}

// noEnd is the expiry of a token without end: after all others.
const noEnd = math.MaxInt64

func (s sorting) place(t tokenstore.TokenUsage) place {
	p := place{id: t.Token.ID}
	switch s.key {
	case sortCreatedAt:
		p.number = t.Token.CreatedAt.UnixMicro()
	case sortExpiresAt:
		if p.number = noEnd; !t.Token.ExpiresAt.IsZero() {
			p.number = t.Token.ExpiresAt.UnixMicro()
		}
	case sortName:
		p.text = strings.ToLower(t.Token.Name)
	case sortLastUsedAt:
		// Never is before the first time.
		if p.number = math.MinInt64; !t.Usage.Last.Time.IsZero() {
			p.number = t.Usage.Last.Time.UnixMicro()
		}
	case sortUsageCount:
		p.number = int64(min(t.Usage.Allowed, math.MaxInt64))
	}
	return p
}

// position is the place in the store's own order.
func (p place) position() *tokenstore.Position {
	position := tokenstore.Position{ID: p.id}
	if p.number != noEnd {
		position.Time = time.UnixMicro(p.number).UTC()
	}
	return &position
}

// compare says which of two places comes first.
func (s sorting) compare(a, b place) int {
	c := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text), slices.Compare(a.id[:], b.id[:]))
	if s.descending {
		return -c
	}
	return c
}

// A cursor is the order, the value and the id of the last token of a page, and a
// checksum, which tells a cursor that was cut or altered from a good one. It holds
// nothing that the page doesn't show.
var cursorEncoding = base64.RawURLEncoding.Strict()

func (p place) cursor(s sorting) string {
	raw := []byte{byte(s.key), 0}
	if s.descending {
		raw[1] = 1
	}
	raw = append(raw, p.id[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.number))
	raw = append(raw, p.text...)
	return cursorEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw)))
}

// parseCursor reads a cursor of the same order.
func parseCursor(cursor string, s sorting) (*place, bool) {
	raw, err := cursorEncoding.DecodeString(cursor)
	const head, number, sum = 2, 8, 4
	var p place
	if err != nil || len(raw) < head+len(p.id)+number+sum {
		return nil, false
	}
	raw, check := raw[:len(raw)-sum], raw[len(raw)-sum:]
	if crc32.ChecksumIEEE(raw) != binary.BigEndian.Uint32(check) {
		return nil, false
	}
	if (sorting{sortKey(raw[0]), raw[1] == 1}) != s {
		return nil, false
	}
	raw = raw[head:]
	id, err := token.ParseID(string(raw[:len(p.id)]))
	if err != nil {
		return nil, false
	}
	raw = raw[len(p.id):]
	p.id = id
	p.number = int64(binary.BigEndian.Uint64(raw))
	p.text = string(raw[number:])
	return &p, true
}

// walkChunk is how many tokens a walk asks the store for at once.
const walkChunk = 500

// maxWalk is how many tokens a walk looks at: then so few are kept by the filter
// that it is quicker to look at all there are, in the store's own way.
const maxWalk = 20 * walkChunk

// page returns the tokens asked for and the place to go on from, or nil if these
// are the last. It holds two pages' worth of tokens at most.
func (q *listQuery) page(ctx context.Context, store *tokenstore.Store) (tokens []tokenstore.TokenUsage, next *place,
	err error) {
	order, kept := q.sort.kept()
	done := false
	if kept {
		tokens, done, err = q.walk(ctx, store, order)
	}
	if !done && err == nil {
		tokens, err = q.pick(ctx, store)
	}
	if err != nil || len(tokens) <= q.limit {
		return tokens, nil, err
	}
	tokens = tokens[:q.limit]
	last := q.sort.place(tokens[q.limit-1])
	return tokens, &last, nil
}

// walk collects a page, and one more token, in an order that the store keeps. It
// isn't done if it has looked at too many tokens.
func (q *listQuery) walk(ctx context.Context, store *tokenstore.Store,
	order tokenstore.Order) (tokens []tokenstore.TokenUsage, done bool, err error) {
	request := tokenstore.Page{Order: order, Descending: q.sort.descending, Limit: walkChunk}
	if q.after != nil {
		request.After = q.after.position()
	}
	if q.filter.any() {
		request.Limit = q.limit + 1
	}
	for seen := 0; seen < maxWalk; seen += request.Limit {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		found, next, err := store.List(request)
		if err != nil {
			return nil, false, err
		}
		for _, t := range found {
			if q.filter.keeps(t) {
				tokens = append(tokens, t)
			}
			if len(tokens) > q.limit {
				return tokens, true, nil
			}
		}
		if next == nil {
			return tokens, true, nil
		}
		request.After = next
	}
	return nil, false, nil
}

// pick collects a page, and one more token, by looking at all tokens there are.
func (q *listQuery) pick(ctx context.Context, store *tokenstore.Store) (tokens []tokenstore.TokenUsage, err error) {
	type row struct {
		place place
		token tokenstore.TokenUsage
	}
	var rows []row
	trim := func() {
		slices.SortFunc(rows, func(a, b row) int { return q.sort.compare(a.place, b.place) })
		rows = rows[:min(len(rows), q.limit+1)]
	}
	full := false // from then on, the last row is the one to beat
	err = store.Scan(ctx, func(t tokenstore.TokenUsage) bool {
		p := q.sort.place(t)
		switch {
		case q.after != nil && q.sort.compare(p, *q.after) <= 0,
			full && q.sort.compare(p, rows[q.limit].place) > 0,
			!q.filter.keeps(t):
			return true
		}
		t = t.Clone()
		if rows = append(rows, row{q.sort.place(t), t}); len(rows) >= 2*(q.limit+1) {
			trim()
			full = true
		}
		return true
	})
	trim()
	for _, r := range rows {
		tokens = append(tokens, r.token)
	}
	return tokens, err
}

// total counts what the filter keeps.
func (q *listQuery) total(ctx context.Context, store *tokenstore.Store) (total int, err error) {
	err = store.Scan(ctx, func(t tokenstore.TokenUsage) bool {
		if q.filter.keeps(t) {
			total++
		}
		return true
	})
	return total, err
}
