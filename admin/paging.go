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

// sortKey identifies the field that a list is sorted by. Cursors contain its numeric
// value.
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

// storeOrder returns the store's index for this order and reports whether there is one.
// With an index, the cost of reading a page depends only on the page's length.
func (s sorting) storeOrder() (tokenstore.Order, bool) {
	switch s.key {
	case sortCreatedAt:
		return tokenstore.OrderCreated, true
	case sortExpiresAt:
		return tokenstore.OrderExpires, true
	default:
		return tokenstore.OrderCreated, false
	}
}

// position is a token's position in a sort order, given by the sort value and then the ID.
type position struct {
	// text is the sort value for sortName.
	text string
	// number is the sort value for all other keys. Times are in microseconds since 1970.
	number int64
	id     token.ID
}

// neverExpires is the sort value of tokens that never expire, which sort after all others.
const neverExpires = math.MaxInt64

func (s sorting) position(t tokenstore.TokenUsage) position {
	p := position{id: t.Token.ID}
	switch s.key {
	case sortCreatedAt:
		p.number = t.Token.CreatedAt.UnixMicro()
	case sortExpiresAt:
		if p.number = neverExpires; !t.Token.ExpiresAt.IsZero() {
			p.number = t.Token.ExpiresAt.UnixMicro()
		}
	case sortName:
		p.text = strings.ToLower(t.Token.Name)
	case sortLastUsedAt:
		// Tokens that have never been used sort first.
		if p.number = math.MinInt64; !t.Usage.Last.Time.IsZero() {
			p.number = t.Usage.Last.Time.UnixMicro()
		}
	case sortUsageCount:
		p.number = int64(min(t.Usage.Allowed, math.MaxInt64))
	}
	return p
}

// inStore converts p to a position in the store's index.
func (p position) inStore() *tokenstore.Position {
	position := tokenstore.Position{ID: p.id}
	if p.number != neverExpires {
		position.Time = time.UnixMicro(p.number).UTC()
	}
	return &position
}

// compare returns a negative number if a sorts before b and a positive number if a sorts
// after b.
func (s sorting) compare(a, b position) int {
	c := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text), slices.Compare(a.id[:], b.id[:]))
	if s.descending {
		return -c
	}
	return c
}

// cursorEncoding encodes cursors. A cursor consists of the sort order, the position of the
// last token of a page, and a checksum that detects truncated and altered cursors. A
// cursor contains nothing that the page doesn't show.
var cursorEncoding = base64.RawURLEncoding.Strict()

func (p position) cursor(s sorting) string {
	raw := []byte{byte(s.key), 0}
	if s.descending {
		raw[1] = 1
	}
	raw = append(raw, p.id[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.number))
	raw = append(raw, p.text...)
	return cursorEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw)))
}

// parseCursor parses a cursor, which must have the given sort order.
func parseCursor(cursor string, s sorting) (*position, bool) {
	raw, err := cursorEncoding.DecodeString(cursor)
	const head, number, sum = 2, 8, 4
	var p position
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

// walkChunk is the number of tokens that a walk reads per call to the store.
const walkChunk = 500

// maxWalk is the maximum number of tokens that a walk reads. If these contain less than a
// full page of matching tokens, scanning all tokens is faster.
const maxWalk = 20 * walkChunk

// page returns the requested tokens and the position of the last one, or a nil position if
// no tokens follow. It holds at most two pages of tokens in memory.
func (q *listQuery) page(ctx context.Context, store *tokenstore.Store) (tokens []tokenstore.TokenUsage,
	next *position, err error) {
	order, indexed := q.sort.storeOrder()
	done := false
	if indexed {
		tokens, done, err = q.walk(ctx, store, order)
	}
	if !done && err == nil {
		tokens, err = q.pick(ctx, store)
	}
	if err != nil || len(tokens) <= q.limit {
		return tokens, nil, err
	}
	tokens = tokens[:q.limit]
	last := q.sort.position(tokens[q.limit-1])
	return tokens, &last, nil
}

// walk collects a page plus one more token from the store's index. It returns done = false
// if it gave up after maxWalk tokens.
func (q *listQuery) walk(ctx context.Context, store *tokenstore.Store,
	order tokenstore.Order) (tokens []tokenstore.TokenUsage, done bool, err error) {
	request := tokenstore.Page{Order: order, Descending: q.sort.descending, Limit: walkChunk}
	if q.after != nil {
		request.After = q.after.inStore()
	}
	if q.filter.isEmpty() {
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
			if q.filter.matches(t) {
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

// pick collects a page plus one more token by scanning all tokens.
func (q *listQuery) pick(ctx context.Context, store *tokenstore.Store) (tokens []tokenstore.TokenUsage, err error) {
	type row struct {
		position position
		token    tokenstore.TokenUsage
	}
	var rows []row
	trim := func() {
		slices.SortFunc(rows, func(a, b row) int { return q.sort.compare(a.position, b.position) })
		rows = rows[:min(len(rows), q.limit+1)]
	}
	full := false // once set, tokens after rows[q.limit] can't be on the page
	err = store.Scan(ctx, func(t tokenstore.TokenUsage) bool {
		p := q.sort.position(t)
		switch {
		case q.after != nil && q.sort.compare(p, *q.after) <= 0,
			full && q.sort.compare(p, rows[q.limit].position) > 0,
			!q.filter.matches(t):
			return true
		}
		t = t.Clone()
		if rows = append(rows, row{q.sort.position(t), t}); len(rows) >= 2*(q.limit+1) {
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

// total returns the number of tokens that the filter selects.
func (q *listQuery) total(ctx context.Context, store *tokenstore.Store) (total int, err error) {
	err = store.Scan(ctx, func(t tokenstore.TokenUsage) bool {
		if q.filter.matches(t) {
			total++
		}
		return true
	})
	return total, err
}
