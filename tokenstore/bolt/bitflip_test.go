package bolt

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// flipTarget is a store to flip bits in, together with its tokens' correct state.
type flipTarget struct {
	raw      []byte
	pageSize int64
	tokens   []testToken
	want     map[token.ID]*token.Token
	deleted  []testToken
	used     map[token.ID]tokenstore.Usage
	recorded time.Time
}

// newFlipTarget creates a store with outdated pages, in which changed and deleted tokens are
// still active. The last transaction is a revocation.
func newFlipTarget(t testing.TB, pageSize int) *flipTarget {
	t.Helper()
	path := newPath(t)
	makeStore(t, path, pageSize, storeFormat.createSchema)
	b := mustOpen(t, path)
	s := openStore(t, b)
	f := &flipTarget{
		pageSize: int64(pageSize), want: make(map[token.ID]*token.Token), used: make(map[token.ID]tokenstore.Usage),
	}
	for i := range 40 {
		f.tokens = append(f.tokens, makeToken(t, s, func(d *token.Draft) {
			d.AllowedIPs = []string{"203.0.113.0/24"}
			d.Metadata = map[string]string{"number": fmt.Sprint(i)}
		}))
		f.deleted = append(f.deleted, makeToken(t, s))
	}
	for _, token := range f.tokens {
		match, err := s.Authenticate(token.credential, testTime)
		check(t, err)
		s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime, IP: "203.0.113.7"})
	}
	check(t, s.Flush())
	for i, tok := range f.tokens {
		mustChange(t, b, tok.ID, func(tok *token.Token) {
			switch i % 5 {
			case 0:
				tok.RevokedAt = testTime
			case 1:
				tok.DisabledAt = testTime
			case 2:
				tok.ExpiresAt = testTime.Add(time.Second).Truncate(time.Second)
			case 3:
				tok.Scopes = token.Grants{"unikernel:list"}
			}
		})
		check(t, s.Delete(f.deleted[i].ID, token.AnyVersion, testActor))
	}
	mustChange(t, b, f.tokens[4].ID, func(token *token.Token) { token.RevokedAt = testTime })
	for _, token := range f.tokens {
		stored, err := b.Token(token.ID)
		check(t, err)
		f.want[token.ID] = stored
		used, err := usageOf(b, token.ID)
		f.used[token.ID] = used
		check(t, err)
	}
	var err error
	f.recorded, err = recorded(b)
	check(t, err)
	checkConsistent(t, b)
	used := b.current.Load().size.Load()
	check(t, s.Close())
	f.raw, err = os.ReadFile(path)
	check(t, err)
	f.raw = f.raw[:used]
	return f
}

// outcome counts the stores that were refused, the stores that were unharmed, and the tokens
// that were denied.
type outcome struct{ refused, harmless, denied int }

// try opens the file and compares every token with its correct state. A token may be refused,
// but an accepted token must be unchanged.
func (f *flipTarget) try(t testing.TB, path string, o *outcome) {
	t.Helper()
	defer removeKept(t, path)
	b, err := Open(path)
	if err != nil {
		o.refused++
		return
	}
	defer func() { check(t, b.Close()) }()
	s, err := tokenstore.Open(withoutJournal{b},
		tokenstore.Options{Clock: tokenstore.ClockFunc(func() time.Time { return testTime }), FlushInterval: -1})
	if err != nil {
		o.refused++
		return
	}
	defer func() { _ = s.Close() }()
	if recorded, err := recorded(b); err == nil && !recorded.Equal(f.recorded) {
		t.Errorf("got recorded time %s, want %s", recorded, f.recorded)
	}
	harm := false
	for _, token := range f.tokens {
		match, err := s.Authenticate(token.credential, testTime)
		switch {
		case err == nil && !reflect.DeepEqual(match.Token, tokenstore.PrincipalOf(f.want[token.ID])):
			t.Errorf("reading token %s: got\n%+v, want\n%+v", token.ID, match.Token, f.want[token.ID])
		case errors.Is(err, tokenstore.ErrNotFound):
			t.Errorf("token %s is unknown", token.ID)
		case err != nil:
			harm = true
			o.denied++
		}
		if used, err := usageOf(b, token.ID); err == nil && !reflect.DeepEqual(used, f.used[token.ID]) &&
			!reflect.DeepEqual(used, tokenstore.Usage{}) {
			t.Errorf("token %s: got usage %+v, want %+v", token.ID, used, f.used[token.ID])
		}
		if stored, err := b.Token(token.ID); err == nil && !reflect.DeepEqual(stored, f.want[token.ID]) {
			t.Errorf("stored token %s: got\n%+v, want\n%+v", token.ID, stored, f.want[token.ID])
		}
	}
	for _, token := range f.deleted {
		if match, err := s.Authenticate(token.credential, testTime); err == nil {
			t.Errorf("deleted token %s was accepted: %+v", token.ID, match.Token)
		}
	}
	seen := 0
	err = b.List(tokenstore.OrderExpires, nil, false, func(token *token.Token) bool {
		if want := f.want[token.ID]; want != nil && token.Version == want.Version && !reflect.DeepEqual(token, want) {
			t.Errorf("listing token %s: got\n%+v, want\n%+v", token.ID, token, want)
		}
		seen++
		return seen < 1000
	})
	if seen == 1000 {
		t.Error("List did not end after 1000 tokens")
	}
	if err == nil && !harm {
		o.harmless++
	}
}

// removeKept removes damaged files kept by rebuilds.
func removeKept(t testing.TB, path string) {
	t.Helper()
	kept, err := filepath.Glob(path + damagedSuffix + "*")
	check(t, err)
	for _, name := range kept {
		check(t, os.Remove(name))
	}
}

// withoutJournal is a backend that has no journal and therefore opens faster.
type withoutJournal struct{ *Backend }

func (withoutJournal) JournalPath() string { return "" }

// TestBitFlips flips single bits. A flip may make Open fail, cause errors for some tokens, or
// have no effect. No flip may give a token more rights or a later expiry, or make an ended
// token valid again.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	for pageSize, step := range map[int]int{1024: 29, 4096: 97} {
		f := newFlipTarget(t, pageSize)
		n := 150 // TestDamage flips more
		if testing.Short() {
			n, step = 50, 7*step
		}
		random := rand.New(rand.NewPCG(23, uint64(pageSize)))
		var bits []int
		for range n {
			bits = append(bits, random.IntN(len(f.raw)*8))
		}
		// Test more bits in the pages on which most other pages depend.
		for _, page := range f.decisive(t) {
			for bit := 0; bit < 96*8; bit += step {
				bits = append(bits, int(page*f.pageSize)*8+bit)
			}
		}
		path := newPath(t)
		var o outcome
		for _, bit := range bits {
			f.raw[bit/8] ^= 1 << (bit % 8)
			check(t, os.WriteFile(path, f.raw, 0o600))
			f.raw[bit/8] ^= 1 << (bit % 8)
			f.try(t, path, &o)
			if t.Failed() {
				t.Fatalf("after flipping bit %d of byte %d, page size %d", bit%8, bit/8, pageSize)
			}
		}
		t.Logf("page size %d: %d flips, %d refused, %d harmless; %d tokens denied", pageSize, len(bits), o.refused,
			o.harmless, o.denied)
		if o.refused == 0 || o.harmless == 0 || o.denied == 0 {
			t.Error("one of the outcomes never occurred")
		}
	}
}

// decisive returns the pages on which most others depend: the meta pages, the root, the free
// list, and the root pages of the tokens and digests buckets.
func (f *flipTarget) decisive(t testing.TB) []int64 {
	t.Helper()
	path := newPath(t)
	check(t, os.WriteFile(path, f.raw, 0o600))
	pages := map[int64]bool{0: true, 1: true}
	b := mustOpen(t, path)
	check(t, b.view(func(tx *bbolt.Tx) error {
		pages[int64(tx.Cursor().Bucket().Root())] = true
		for _, name := range [][]byte{tokensBucket, digestsBucket} {
			pages[int64(tx.Bucket(name).Root())] = true
		}
		for number := range int(tx.Size() / f.pageSize) {
			info, err := tx.Page(number)
			if err != nil {
				return err
			}
			if info != nil && info.Type == "freelist" {
				pages[int64(number)] = true
			}
		}
		return nil
	}))
	check(t, b.Close())
	var list []int64
	for page := range maps.Keys(pages) {
		list = append(list, page)
	}
	return list
}
