package tokenstore

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNamesStay: each record keeps its name while others come, go and change so that
// what is left of them has to move; a name that was read stays what it is; and the
// names of the past don't fill the memory.
func TestNamesStay(t *testing.T) {
	t.Parallel()
	x := newIndex()
	x.records.rest = 0
	random := rand.New(rand.NewPCG(3, 1))
	names := make(map[uint32]string)
	read := make(map[string]string)
	for i := range 100_000 {
		number := uint32(random.IntN(1000)) + 1
		if names[number] == "" && x.records.next < number {
			number, _ = x.add(ID{byte(i), byte(i >> 8), byte(i >> 16)})
		}
		name := strings.Repeat("x", random.IntN(60)) + fmt.Sprint(i)
		if random.IntN(5) == 0 {
			name = ""
		}
		x.names.set(&x.records, number, name)
		names[number] = name
		if i%1000 == 0 {
			read[strings.Clone(name)] = x.names.text(nameHandle(x.records.at(number).name.Load()))
		}
	}
	for number, name := range names {
		if got := x.names.text(nameHandle(x.records.at(number).name.Load())); got != name {
			t.Fatalf("%d is called %q, not %q", number, got, name)
		}
	}
	for name, text := range read {
		if text != name {
			t.Fatalf("%q has become %q", name, text)
		}
	}
	chunks, live := 0, 0
	for i := range x.names.next {
		if chunk := x.names.chunks.at(i); chunk != nil {
			chunks++
			live += chunk.live
		}
	}
	if most := 5*live/nameChunkLength + 1; chunks > most {
		t.Errorf("%d chunks for %d bytes", chunks, live)
	}
}

// TestNamesComeAndGo: names that are gone before their chunk is full don't fill the
// memory either.
func TestNamesComeAndGo(t *testing.T) {
	t.Parallel()
	x := newIndex()
	stays, _ := x.add(ID{1})
	x.names.set(&x.records, stays, "stays")
	number, _ := x.add(ID{2})
	for i := range 100_000 {
		x.names.set(&x.records, number, fmt.Sprint("goes ", i))
		x.names.set(&x.records, number, "")
	}
	if got := x.names.text(nameHandle(x.records.at(stays).name.Load())); got != "stays" {
		t.Errorf("it is called %q", got)
	}
	if x.names.next > 3 {
		t.Errorf("%d chunks", x.names.next)
	}
}

// TestTermsAreShared: equal ones are one, others aren't, and those that nobody has any
// more are forgotten.
func TestTermsAreShared(t *testing.T) {
	t.Parallel()
	var l termsList
	numbers := make(map[uint32]int)
	for i := range 300 {
		token := fullToken()
		token.Account = fmt.Sprint("account ", i%100)
		number := l.share(token)
		numbers[number]++
		if got := l.at(number); got.Account != token.Account || got.key() != token.terms().key() {
			t.Fatalf("%+v of %+v", got, token)
		}
	}
	if len(numbers) != 100 {
		t.Errorf("%d terms of 100", len(numbers))
	}
	for number := range numbers {
		for users := 3; users > 0; users-- {
			if l.at(number) == nil {
				t.Fatal("forgotten too early")
			}
			l.leave(number)
		}
		if l.at(number) != nil {
			t.Fatal("not forgotten")
		}
	}
	if len(l.numbers) != 0 || len(l.free) != 100 {
		t.Errorf("%d terms are left, %d numbers are free", len(l.numbers), len(l.free))
	}
}

// TestTermsKey: what differs in anything has another key.
func TestTermsKey(t *testing.T) {
	t.Parallel()
	keys := make(map[string]string)
	base := fullToken
	for what, change := range map[string]func(*Token){
		"nothing": func(*Token) {}, "kind": func(token *Token) { token.Kind = KindAdmin }, "account": func(token *Token) { token.Account = "x" },
		"no account": func(token *Token) { token.Account = "" }, "a scope": func(token *Token) { token.Scopes = append(Grants{"z:z"}, token.Scopes...) },
		"scopes": func(token *Token) { token.Scopes = nil }, "account and scope": func(token *Token) { token.Account, token.Scopes = "a", Grants{"b"} },
		"scope and account": func(token *Token) { token.Account, token.Scopes = "", Grants{"a", "b"} }, "one scope": func(token *Token) { token.Account, token.Scopes = "", Grants{"ab"} },
		"addresses": func(token *Token) { token.AllowedIPs = nil }, "rate": func(token *Token) { token.RateLimit.Requests++ },
		"window": func(token *Token) { token.RateLimit.Window += time.Second }, "quota": func(token *Token) { token.Quota.Requests++ },
		"period": func(token *Token) { token.Quota.Period ^= 3 },
	} {
		token := base()
		change(token)
		key := token.terms().key()
		if other, ok := keys[key]; ok {
			t.Errorf("%s and %s have the same key", what, other)
		}
		keys[key] = what
	}
}

// TestReusedRecords: a request that is under way when its token is deleted counts for
// nobody, though the record is another token's at once; and no request ever sees a
// mixture of two tokens.
func TestReusedRecords(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	s.index.records.rest = 0
	var current atomic.Pointer[Match]
	done := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				old := current.Load()
				if old == nil {
					continue
				}
				m, err := s.Authenticate(Credential{Digest: old.Digest}, testTime)
				if err == nil && (m.Token.ID != old.Token.ID || m.Token.Name != old.Token.Name || m.Token.Account != old.Token.Account) {
					t.Errorf("a mixture: %+v of %+v", m.Token, old.Token)
					return
				}
				s.TakeRate(*old, testTime)
			}
		})
	}
	var before Match
	for i := range 500 {
		draft := validDraft()
		draft.Name = strings.Repeat("n", i%50+1)
		token, secret, err := s.Create(testPolicy, draft, testActor)
		if err != nil {
			t.Fatal(err)
		}
		match := s.must(t, parsed(t, secret))
		if before.number != 0 {
			if match.number != before.number {
				t.Fatalf("the record %d isn't used again, but %d", before.number, match.number)
			}
			s.CountAllowed(before, "a:b", LastUse{Time: testTime})
			s.CountDenied(before, testTime, "a:b", "x")
		}
		current.Store(&match)
		if got, err := s.Get(token.ID); err != nil || got.Usage != (Usage{}) {
			t.Fatalf("%d: %+v, %v", i, got.Usage, err)
		}
		s.CountAllowed(match, "a:b", LastUse{Time: testTime})
		if i%3 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(token.ID, AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
		before = match
	}
	close(done)
	users.Wait()
	if err := s.Flush(); err != nil || s.Pending() != 0 || len(s.memory.used) != 0 {
		t.Errorf("%v, %d pending, %d stored", err, s.Pending(), len(s.memory.used))
	}
}

// TestRecordsRest: a record isn't another token's before its time.
func TestRecordsRest(t *testing.T) {
	t.Parallel()
	x := newIndex()
	first, _ := x.add(ID{1})
	x.remove(first)
	if next, _ := x.add(ID{2}); next == first {
		t.Error("it is used again at once")
	}
	x.records.rest = 0
	if next, _ := x.add(ID{3}); next != first {
		t.Error("it isn't used again")
	}
}

// TestMemoryOfTokens: a token in use whose use is settled takes at most 200 bytes, of
// which the garbage collector looks at none.
func TestMemoryOfTokens(t *testing.T) {
	const tokens, most = 100_000, 200
	s := openTestStore(t)
	fill(s, 1) // what a store begins with
	before := heap()
	fill(s, tokens)
	if each := (heap() - before) / tokens; each > most {
		t.Errorf("%d bytes each, of %d", each, most)
	} else {
		t.Logf("%d bytes each", each)
	}
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
