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

// flipTarget is a store that bits are flipTarget in, with what is true about its tokens.
type flipTarget struct {
	raw      []byte
	pageSize int64
	tokens   []testToken
	want     map[token.ID]*token.Token
	gone     []testToken
	used     map[token.ID]tokenstore.Usage
	recorded time.Time
}

// newFlipTarget makes a store with a past: tokens that were changed and deleted
// leave outdated pages behind, where they are still active. The newest transaction
// is a revocation.
func newFlipTarget(t testing.TB, pageSize int) *flipTarget {
	t.Helper()
	path := newPath(t)
	makeStore(t, path, pageSize, createSchema)
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
		f.gone = append(f.gone, makeToken(t, s))
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
		check(t, s.Delete(f.gone[i].ID, token.AnyVersion, testActor))
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

// outcome is what became of a store.
type outcome struct{ refused, harmless, denied int }

// try opens what is in the file and holds every token against the truth. A token
// that is accepted must be as it was; anything else is an error about it.
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
		t.Errorf("%s is recorded, not %s", recorded, f.recorded)
	}
	harm := false
	for _, token := range f.tokens {
		match, err := s.Authenticate(token.credential, testTime)
		switch {
		case err == nil && !reflect.DeepEqual(match.Token, tokenstore.PrincipalOf(f.want[token.ID])):
			t.Errorf("token %s is read as\n%+v, not\n%+v", token.ID, match.Token, f.want[token.ID])
		case errors.Is(err, tokenstore.ErrNotFound):
			t.Errorf("token %s is unknown", token.ID)
		case err != nil:
			harm = true
			o.denied++
		}
		if used, err := usageOf(b, token.ID); err == nil && !reflect.DeepEqual(used, f.used[token.ID]) &&
			!reflect.DeepEqual(used, tokenstore.Usage{}) {
			t.Errorf("token %s is used %+v, not %+v", token.ID, used, f.used[token.ID])
		}
		if stored, err := b.Token(token.ID); err == nil && !reflect.DeepEqual(stored, f.want[token.ID]) {
			t.Errorf("token %s is stored as\n%+v, not\n%+v", token.ID, stored, f.want[token.ID])
		}
	}
	for _, token := range f.gone {
		if match, err := s.Authenticate(token.credential, testTime); err == nil {
			t.Errorf("deleted token %s is back: %+v", token.ID, match.Token)
		}
	}
	seen := 0
	err = b.List(tokenstore.OrderExpires, nil, false, func(token *token.Token) bool {
		if want := f.want[token.ID]; want != nil && token.Version == want.Version && !reflect.DeepEqual(token, want) {
			t.Errorf("token %s is listed as\n%+v, not\n%+v", token.ID, token, want)
		}
		seen++
		return seen < 1000
	})
	if seen == 1000 {
		t.Error("the list doesn't end")
	}
	if err == nil && !harm {
		o.harmless++
	}
}

// removeKept removes what a rebuild has kept.
func removeKept(t testing.TB, path string) {
	t.Helper()
	kept, err := filepath.Glob(path + damagedSuffix + "*")
	check(t, err)
	for _, name := range kept {
		check(t, os.Remove(name))
	}
}

// withoutJournal is a backend without a place for a journal, which is opened faster.
type withoutJournal struct{ *Backend }

func (withoutJournal) JournalPath() string { return "" }

// TestBitFlips flips single bits: each is refused when the store is opened, or
// costs some tokens an error, or harms nothing. None makes a token wider, live
// longer or live again (FT-23).
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
		// More where the fewest bits decide about the most.
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
				t.Fatalf("with bit %d of byte %d flipTarget, pages of %d", bit%8, bit/8, pageSize)
			}
		}
		t.Logf("%d flips with pages of %d: %d refused, %d harmless; %d tokens denied", len(bits), pageSize, o.refused,
			o.harmless, o.denied)
		if o.refused == 0 || o.harmless == 0 || o.denied == 0 {
			t.Error("one of the outcomes never came about")
		}
	}
}

// decisive returns the pages that lead to others: the meta pages, the root, the
// free list, and the tops of the tokens and their digests.
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
