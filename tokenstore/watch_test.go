package tokenstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// watched counts the calls to End.
type watched struct {
	Watch
	ended   atomic.Int32
	allowed func(*Match) bool
}

func (w *watched) StillAllowed(m *Match) bool {
	return m.Token.Known() && m.Status == token.StatusActive && (w.allowed == nil || w.allowed(m))
}

func (w *watched) End() { w.ended.Add(1) }

func TestWatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*testStore, *token.Token) error
		ends bool
	}{
		"deleted": {func(s *testStore, tok *token.Token) error { return s.Delete(tok.ID, token.AnyVersion, testActor) },
			true},
		"revoked": {func(s *testStore, tok *token.Token) error {
			return s.tryAlter(tok.ID, func(token *token.Token) { token.RevokedAt = testTime })
		}, true},
		"disabled": {func(s *testStore, tok *token.Token) error {
			return s.tryAlter(tok.ID, func(token *token.Token) { token.DisabledAt = testTime })
		}, true},
		"renamed": {func(s *testStore, tok *token.Token) error {
			return s.tryAlter(tok.ID, func(token *token.Token) { token.Name = "x" })
		}, false},
		"rotated without grace": {func(s *testStore, token *token.Token) error {
			return s.tryAlter(token.ID, rotate(testTime))
		}, true},
		"rotated with grace": {func(s *testStore, token *token.Token) error {
			return s.tryAlter(token.ID, rotate(testTime.Add(time.Hour)))
		}, false},
		"narrowed": {func(s *testStore, tok *token.Token) error {
			return s.tryAlter(tok.ID, func(tok *token.Token) { tok.Scopes = token.Grants{"other:read"} })
		}, true},
		"rotated twice": {func(s *testStore, token *token.Token) error {
			return errors.Join(s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))),
				s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			tok, credential := s.create(t)
			match := s.must(t, credential)
			var kept, first, stopped, last watched
			kept.allowed = func(m *Match) bool {
				return !m.Token.Scopes.Cover(token.Scope{Name: "other:read"}) ||
					m.Token.Scopes.Cover(token.Scope{Name: tok.Scopes[0]})
			}
			for _, w := range []*watched{&first, &stopped, &kept, &last} {
				s.Watch(&w.Watch, &match, w)
			}
			for _, w := range []*watched{&first, &stopped, &last} {
				w.Stop()
				w.Stop() // has no effect
			}
			if err := c.edit(s, tok); err != nil {
				t.Fatal(err)
			}
			if n := kept.ended.Load(); (n == 1) != c.ends || n > 1 {
				t.Errorf("when the change returned, End had been called %d times", n)
			}
			if n := first.ended.Load() + stopped.ended.Load() + last.ended.Load(); n != 0 {
				t.Errorf("End was called %d times for stopped watches", n)
			}
			kept.Stop() // has no effect if the operation has already ended
			new(Watch).Stop()
		})
	}
}

// TestWatchPreviousSecret verifies that a response authenticated with the old secret ends when
// the grace period ends, not at the rotation.
func TestWatchPreviousSecret(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	s.alter(t, tok.ID, rotate(testTime.Add(time.Hour)))
	match := s.must(t, credential)
	if !match.Previous {
		t.Fatal("the old secret isn't recognized as the previous one")
	}
	var w watched
	s.Watch(&w.Watch, &match, &w)
	s.alter(t, tok.ID, func(token *token.Token) { token.Name = "x" })
	if w.ended.Load() != 0 {
		t.Error("the response ended within the grace period")
	}
	s.alter(t, tok.ID, func(token *token.Token) { token.PreviousValidUntil = testTime })
	if w.ended.Load() != 1 {
		t.Errorf("at the end of the grace period, End had been called %d times, want once", w.ended.Load())
	}
}

// rotate gives a token a new secret. The old one stays valid until the given time.
func rotate(until time.Time) func(*token.Token) {
	return func(tok *token.Token) {
		tok.PreviousDigest, tok.PreviousValidUntil = tok.Digest, until
		tok.Digest = token.DigestOf(fmt.Sprint(tok.Version))
	}
}

// endOf is a Watched that closes its channel when End is called.
type endOf chan struct{}

func (endOf) StillAllowed(m *Match) bool { return m.Status == token.StatusActive }
func (e endOf) End()                     { close(e) }

func TestWatchExpiry(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	ended := make(chan struct{})
	match := s.must(t, credential)
	s.Watch(new(Watch), &match, endOf(ended))
	s.clock.set(token.ExpiresAt)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the response didn't end")
	}
}
