package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/token"
)

func TestCreateAndAuthenticate(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, secret, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	c, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != tok.ID || c.Digest != tok.Digest || tok.CreatedBy != "caddy-admin" || tok.Version != 1 {
		t.Errorf("unexpected new token %+v", tok)
	}
	for _, from := range []string{"the backend", "memory"} {
		match := s.must(t, c)
		if match.Token.ID != tok.ID || match.Status != token.StatusActive || match.Previous {
			t.Errorf("match from %s: got %+v", from, match)
		}
	}
	if calls := s.memory.called(); calls["IDOf"] != 1 || calls["Token"] != 1 {
		t.Errorf("two requests made the backend calls %v, want one lookup", calls)
	}
	if len(s.memory.audit) != 1 {
		t.Fatalf("got %d audit entries, want 1", len(s.memory.audit))
	}
	if entry := s.memory.audit[0]; entry.Action != "create" || entry.TokenID != tok.ID ||
		entry.TokenName != "GitHub CI" ||
		entry.Actor != "caddy-admin" || entry.Address != "127.0.0.1" || !entry.Time.Equal(testTime) {
		t.Errorf("unexpected audit entry %+v", entry)
	}
	if strings.Contains(fmt.Sprintf("%+v", s.memory.audit), secret.Reveal()[secretOffset:]) {
		t.Error("the audit log contains the secret")
	}
	for _, record := range s.memory.tokens {
		if bytes.Contains(record, []byte(secret.Reveal()[secretOffset:])) {
			t.Error("the token's record contains the secret")
		}
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	_, other := s.create(t)
	s = s.restart(t, testTime)
	if s.InUse(credential.Digest) {
		t.Error("a token is in use before its first request")
	}
	s.must(t, credential)
	if !s.InUse(credential.Digest) || s.InUse(other.Digest) || s.InUse(token.Digest{}) {
		t.Error("after a request, its token isn't the only one in use")
	}
	if _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if !s.InUse(credential.Digest) {
		t.Error("a revoked token is no longer in use")
	}
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if s.InUse(credential.Digest) {
		t.Error("a deleted token is still in use")
	}
}

// TestMissesDoTheSameWork verifies that an unknown ID, a known ID with a wrong secret and a
// partly correct secret all cause the same amount of work. None of them may access a record or
// take a lock.
func TestMissesDoTheSameWork(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	_, secret, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	text := secret.Reveal()
	for _, loaded := range []bool{false, true} {
		if loaded {
			c, _ := testPolicy.Prefixes.Parse(text)
			s.must(t, c)
		}
		s.memory.called()
		imported, err := testPolicy.Prefixes.Parse(importedText)
		if err != nil {
			t.Fatal(err)
		}
		misses := []token.Credential{unknown(t, text, idOffset), imported}
		for _, same := range []int{0, 1, 8, 16, 31} {
			misses = append(misses, unknown(t, text, secretOffset+same))
		}
		for i, c := range misses {
			if _, err := s.Authenticate(c, s.Now()); err != ErrNotFound {
				t.Errorf("miss %d: got error %v, want ErrNotFound", i, err)
			}
			if calls := s.memory.called(); !maps.Equal(calls, map[string]int{"IDOf": 1}) {
				t.Errorf("miss %d made the backend calls %v, want one IDOf", i, calls)
			}
			if len(s.index.locks.held) != 0 {
				t.Errorf("miss %d left an ID locked", i)
			}
		}
	}
}

func TestDamagedIsNotUnknown(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*memory, *token.Token){
		"record missing":    func(m *memory, token *token.Token) { delete(m.tokens, token.ID) },
		"record unreadable": func(m *memory, token *token.Token) { m.tokens[token.ID][0] ^= 1 },
		"record of other digest": func(m *memory, tok *token.Token) {
			other := *tok
			other.Digest[0] ^= 1
			m.tokens[tok.ID] = token.EncodeToken(&other)
		},
		"wrong index entry": func(m *memory, tok *token.Token) {
			other := *tok
			other.ID, other.Digest = testID, token.DigestOf("other")
			m.put(&other)
			m.digests[tok.Digest] = testID
		},
		"error from the backend": func(m *memory, _ *token.Token) {
			m.tokenError = fmt.Errorf("%w: lost", token.ErrDamaged)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			tok, c := s.create(t)
			s.memory.do(func() { damage(s.memory, tok) })
			for range 2 {
				if _, err := s.Authenticate(c, s.Now()); !errors.Is(err, token.ErrDamaged) ||
					errors.Is(err, ErrNotFound) {
					t.Errorf("got error %v, want ErrDamaged", err)
				}
			}
			if len(s.index.locks.held) != 0 {
				t.Error("an ID was left locked")
			}
		})
	}
	t.Run("the other token still works", func(t *testing.T) {
		t.Parallel()
		s := openTestStore(t)
		tok, c := s.create(t)
		other, otherC := s.create(t)
		s.must(t, otherC)
		s.memory.do(func() { s.memory.digests[tok.Digest] = other.ID })
		if _, err := s.Authenticate(c, s.Now()); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("got error %v, want ErrDamaged", err)
		}
		if s.must(t, otherC).Token.ID != other.ID {
			t.Error("the token that the wrong index entry refers to no longer works")
		}
	})
}

func TestUnavailableIsNotUnknown(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	_, c := s.create(t)
	s.memory.tokenError = io.ErrUnexpectedEOF
	if _, err := s.Authenticate(c, s.Now()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want ErrUnavailable", err)
	}
	s.memory.tokenError = nil
	s.must(t, c)
}

// TestDamagedUsageStillAuthenticates verifies that a token with a damaged usage record still
// works.
func TestDamagedUsageStillAuthenticates(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	backend := newMemory()
	s, err := Open(backend, Options{Clock: newTestClock(testTime), FlushInterval: -1, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	test := &testStore{s, backend, nil}
	token, c := test.create(t)
	backend.used[token.ID] = []byte("nonsense")
	match := test.must(t, c)
	if got, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(got.Usage, Usage{}) {
		t.Errorf("Get returned %+v, %v, want no usage", got, err)
	}
	if logs.FilterField(zap.Stringer("token_id", token.ID)).Len() != 1 {
		t.Errorf("the damage was not logged exactly once: %v", logs.All())
	}
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if used, err := backend.saved(token.ID); err != nil || used.Allowed != 1 {
		t.Errorf("saved usage %+v, %v, want 1 allowed", used, err)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	for name, c := range map[string]struct {
		edit func(*token.Token)
		want token.Status
	}{
		"revoked":  {func(token *token.Token) { token.RevokedAt = testTime }, token.StatusRevoked},
		"disabled": {func(token *token.Token) { token.DisabledAt = testTime }, token.StatusDisabled},
		"not yet valid": {func(token *token.Token) { token.NotBefore = testTime.Add(time.Second) },
			token.StatusNotYetValid},
		"expired": {func(token *token.Token) { token.ExpiresAt = testTime }, token.StatusExpired},
		"active":  {func(*token.Token) {}, token.StatusActive},
	} {
		for _, loaded := range []bool{false, true} {
			token, credential := s.create(t)
			if loaded {
				s.must(t, credential)
			}
			s.alter(t, token.ID, c.edit)
			if got := s.must(t, credential); got.Status != c.want {
				t.Errorf("%s, loaded %v: got status %v, want %v", name, loaded, got.Status, c.want)
			}
		}
	}
}

func TestPreviousSecret(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	for _, loaded := range []bool{false, true} {
		tok, old := s.create(t)
		_, next := s.create(t) // a secret to rotate to
		if err := s.Delete(next.ID, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
		if loaded {
			s.must(t, old)
		}
		s.alter(t, tok.ID, func(token *token.Token) {
			token.PreviousDigest, token.Digest = token.Digest, next.Digest
			token.PreviousValidUntil = testTime.Add(time.Minute)
		})
		if got := s.must(t, old); !got.Previous || got.Status != token.StatusActive || got.Token.ID != tok.ID {
			t.Errorf("the old secret matches as %+v, want an active previous secret", got)
		}
		if got := s.must(t, next); got.Previous || got.Status != token.StatusActive || got.Token.ID != tok.ID {
			t.Errorf("the new secret matches as %+v, want an active current secret", got)
		}
		if got, err := s.Authenticate(old, testTime.Add(time.Minute)); err != nil || got.Status != token.StatusRevoked {
			t.Errorf("after the grace period, the old secret matches as %+v, %v, want revoked", got, err)
		}
		// The next rotation removes the first secret.
		s.alter(t, tok.ID, func(tok *token.Token) { tok.PreviousDigest = token.DigestOf(tok.ID.String()) })
		if _, err := s.Authenticate(old, testTime); err != ErrNotFound {
			t.Errorf("secret before the previous one: got error %v, want ErrNotFound", err)
		}
		s.must(t, next)
		if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
		for _, c := range []token.Credential{old, next} {
			if _, err := s.Authenticate(c, testTime); err != ErrNotFound {
				t.Errorf("deleted token's secret: got error %v, want ErrNotFound", err)
			}
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, c := s.create(t)
	match := s.must(t, c)
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(c, testTime); err != ErrNotFound {
		t.Errorf("Authenticate for a deleted token: got error %v, want ErrNotFound", err)
	}
	if _, err := s.Get(tok.ID); err != ErrNotFound {
		t.Errorf("Get of a deleted token: got error %v, want ErrNotFound", err)
	}
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != ErrNotFound {
		t.Errorf("second Delete: got error %v, want ErrNotFound", err)
	}
	if s.index.byID(tok.ID) != 0 {
		t.Error("the token is still in memory")
	}
	// Counting requests in progress doesn't bring the usage back.
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(s.memory.used) != 0 {
		t.Error("the token's usage is still stored")
	}
}

func TestCreateTaken(t *testing.T) {
	t.Parallel()
	// The same random bytes produce the same ID.
	random := func() io.Reader { return repeat("the same bytes again and again") }
	backend := newMemory()
	s, err := Open(backend, Options{Clock: newTestClock(testTime), FlushInterval: -1, Random: random()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, _, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	s.random = random()
	second, _, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil || second.ID == first.ID {
		t.Errorf("second token: got %v, %v, want a different ID", second, err)
	}
	s.random = zeros{}
	if _, _, err = s.Create(testPolicy, validDraft(), testActor); err != nil {
		t.Fatal(err)
	}
	if _, secret, err := s.Create(testPolicy, validDraft(), testActor); !errors.Is(err, ErrTaken) ||
		secret.Reveal() != "" {
		t.Errorf("if every ID is taken: got error %v, want ErrTaken", err)
	}
	s.random = bytes.NewReader(nil)
	if _, _, err := s.Create(testPolicy, validDraft(), testActor); !errors.Is(err, io.EOF) {
		t.Errorf("without random bytes: got error %v, want EOF", err)
	}
}

// repeat returns a reader that yields 100 copies of text, one copy per read.
func repeat(text string) io.Reader {
	var texts []io.Reader
	for range 100 {
		texts = append(texts, strings.NewReader(text))
	}
	return io.MultiReader(texts...)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestOpenFails(t *testing.T) {
	t.Parallel()
	backend := newMemory()
	backend.closed = true
	if s, err := Open(backend, Options{}); s != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("Open of a closed backend: got %v, %v, want ErrClosed", s, err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	var ids []token.ID
	for i := range 7 {
		s.clock.set(testTime.Add(time.Duration(i) * time.Second))
		token, credential := s.create(t, func(d *token.Draft) { d.Name = fmt.Sprint("token ", i) })
		ids = append(ids, token.ID)
		if i%2 == 0 {
			s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime})
		}
	}
	for _, descending := range []bool{false, true} {
		for limit := range 9 {
			var got []token.ID
			page := Page{Order: OrderCreated, Descending: descending, Limit: limit}
			for range 10 {
				tokens, next, err := s.List(page)
				if err != nil {
					t.Fatal(err)
				}
				if len(tokens) > max(limit, 1) {
					t.Fatalf("a page of %d has %d tokens", limit, len(tokens))
				}
				for _, token := range tokens {
					got = append(got, token.Token.ID)
					if want := uint64(1 - (slices.Index(ids, token.Token.ID) % 2)); token.Usage.Allowed != want {
						t.Errorf("%s was used %d times, want %d", token.Token.Name, token.Usage.Allowed, want)
					}
				}
				if page.After = next; next == nil {
					break
				}
			}
			want := slices.Clone(ids)
			if descending {
				slices.Reverse(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("pages of %d, descending %v: got %v, want %v", limit, descending, got, want)
			}
		}
	}
	odd := Page{Order: OrderCreated, Limit: 2,
		Match: func(token *token.Token) bool { return slices.Index(ids, token.ID)%2 == 1 }}
	first, next, err := s.List(odd)
	if err != nil || len(first) != 2 || next == nil {
		t.Fatalf("first page: got %v, %v, %v", first, next, err)
	}
	odd.After = next
	second, next, err := s.List(odd)
	if err != nil || len(second) != 1 || second[0].Token.ID != ids[5] || next != nil {
		t.Errorf("second page: got %v, %v, %v", second, next, err)
	}
}

// present returns the status that Authenticate reports for a secret, or "unknown".
func (s *testStore) present(t testing.TB, c token.Credential) string {
	t.Helper()
	match, err := s.Authenticate(c, s.Now())
	switch {
	case errors.Is(err, ErrNotFound):
		return "unknown"
	case err != nil:
		t.Fatal(err)
	case match.Previous:
		return "previous " + match.Status.String()
	}
	return match.Status.String()
}

func parsed(t testing.TB, secret token.Secret) token.Credential {
	t.Helper()
	c, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
