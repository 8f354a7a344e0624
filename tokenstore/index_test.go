package tokenstore

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestTermsAreShared verifies that equal terms share a number, that different terms don't, and
// that unused terms are removed.
func TestTermsAreShared(t *testing.T) {
	t.Parallel()
	var l termsList
	numbers := make(map[uint32]int)
	for i := range 300 {
		token := fullToken()
		token.Account = fmt.Sprint("account ", i%100)
		number := l.acquire(token)
		numbers[number]++
		if got := l.at(number); got.Account != token.Account || got.Key() != token.Key() {
			t.Fatalf("got terms %+v for token %+v", got, token)
		}
	}
	if len(numbers) != 100 {
		t.Errorf("%d different terms are stored, want 100", len(numbers))
	}
	for number := range numbers {
		for users := 3; users > 0; users-- {
			if l.at(number) == nil {
				t.Fatal("terms were removed while still in use")
			}
			l.release(number)
		}
		if l.at(number) != nil {
			t.Fatal("unused terms were not removed")
		}
	}
	if len(l.numbers) != 0 || len(l.free) != 100 {
		t.Errorf("%d terms are left and %d numbers are free, want 0 and 100", len(l.numbers), len(l.free))
	}
}

// TestTermsKey verifies that different terms have different keys.
func TestTermsKey(t *testing.T) {
	t.Parallel()
	keys := make(map[string]string)
	base := fullToken
	for what, change := range map[string]func(*token.Token){
		"nothing": func(*token.Token) {}, "kind": func(tok *token.Token) { tok.Kind = token.KindAdmin },
		"account":           func(token *token.Token) { token.Account = "x" },
		"no account":        func(token *token.Token) { token.Account = "" },
		"a scope":           func(tok *token.Token) { tok.Scopes = append(token.Grants{"z:z"}, tok.Scopes...) },
		"scopes":            func(token *token.Token) { token.Scopes = nil },
		"account and scope": func(tok *token.Token) { tok.Account, tok.Scopes = "a", token.Grants{"b"} },
		"scope and account": func(tok *token.Token) { tok.Account, tok.Scopes = "", token.Grants{"a", "b"} },
		"one scope":         func(tok *token.Token) { tok.Account, tok.Scopes = "", token.Grants{"ab"} },
		"addresses":         func(token *token.Token) { token.AllowedIPs = nil },
		"rate":              func(token *token.Token) { token.RateLimit.Requests++ },
		"window":            func(token *token.Token) { token.RateLimit.Window += time.Second },
		"quota":             func(token *token.Token) { token.Quota.Requests++ },
		"period":            func(token *token.Token) { token.Quota.Period ^= 3 },
	} {
		token := base()
		change(token)
		key := token.Key()
		if other, ok := keys[key]; ok {
			t.Errorf("the terms %s and %s have the same key", what, other)
		}
		keys[key] = what
	}
}

// TestReusedEntries verifies that when a token is deleted, its requests in progress don't
// count for the token that reuses its entry. No request may see a mixture of the two tokens.
func TestReusedEntries(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
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
				m, err := s.Authenticate(token.Credential{Digest: old.Digest}, testTime)
				if err == nil && (m.Token.ID != old.Token.ID || m.Token.Name() != old.Token.Name() ||
					m.Token.Account != old.Token.Account) {
					t.Errorf("a request saw a mixture of two tokens: %+v instead of %+v", m.Token, old.Token)
					return
				}
				s.TakeRate(*old, testTime)
			}
		})
	}
	var before Match
	for i := range 500 {
		draft := validDraft()
		draft.Name = strings.Repeat("n", i%longestName+1)
		tok, secret, err := s.Create(testPolicy, draft, testActor)
		if err != nil {
			t.Fatal(err)
		}
		match := s.must(t, parsed(t, secret))
		if before.number != 0 {
			if match.number != before.number {
				t.Fatalf("entry %d was not reused; the new token has entry %d", before.number, match.number)
			}
			s.CountAllowed(before, "a:b", LastUse{Time: testTime})
			s.CountDenied(before, Refusal{Time: testTime, Scope: "a:b", Code: "x"})
		}
		current.Store(&match)
		if got, err := s.Get(tok.ID); err != nil || !reflect.DeepEqual(got.Usage, Usage{}) {
			t.Fatalf("token %d: got usage %+v, %v, want none", i, got.Usage, err)
		}
		s.CountAllowed(match, "a:b", LastUse{Time: testTime})
		if i%3 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
		before = match
	}
	close(done)
	users.Wait()
	if err := s.Flush(); err != nil || s.Pending() != 0 || len(s.memory.used) != 0 {
		t.Errorf("flush: %v, %d tokens pending, %d stored, want none", err, s.Pending(), len(s.memory.used))
	}
}

// TestMemoryOfTokens verifies that a token in use takes at most 300 bytes and that its entry
// contains nothing for the garbage collector to scan.
func TestMemoryOfTokens(t *testing.T) {
	const tokens, most = 100_000, 300
	s := openTestStore(t)
	fill(s, 1) // make the allocations that every store needs
	before := heap()
	fill(s, tokens)
	if each := (heap() - before) / tokens; each > most {
		t.Errorf("a token takes %d bytes, want at most %d", each, most)
	} else {
		t.Logf("%d bytes each", each)
	}
	runtime.KeepAlive(s)
	if pointers(reflect.TypeFor[entry]()) {
		t.Error("entry contains pointers")
	}
}

// pointers reports whether values of a type contain pointers that the garbage collector must
// scan.
func pointers(kind reflect.Type) bool {
	switch kind.Kind() {
	case reflect.Struct:
		return slices.ContainsFunc(reflect.VisibleFields(kind),
			func(f reflect.StructField) bool { return len(f.Index) == 1 && pointers(f.Type) })
	case reflect.Array:
		return kind.Len() > 0 && pointers(kind.Elem())
	}
	return kind.Kind() > reflect.Complex128
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
