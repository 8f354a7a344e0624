package tokenstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// watched counts how often it is ended.
type watched struct {
	Watch
	ended   atomic.Int32
	allowed func(*Match) bool
}

func (w *watched) StillAllowed(m *Match) bool {
	return m.Token.Known() && m.Status == StatusActive && (w.allowed == nil || w.allowed(m))
}

func (w *watched) End() { w.ended.Add(1) }

func TestWatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*testStore, *Token) error
		ends bool
	}{
		"deleted": {func(s *testStore, token *Token) error { return s.Delete(token.ID, AnyVersion, testActor) }, true},
		"revoked": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, func(token *Token) { token.RevokedAt = testTime })
		}, true},
		"disabled": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, func(token *Token) { token.DisabledAt = testTime })
		}, true},
		"renamed": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, func(token *Token) { token.Name = "x" })
		}, false},
		"rotated without grace": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, rotate(testTime))
		}, true},
		"rotated with grace": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, rotate(testTime.Add(time.Hour)))
		}, false},
		"narrowed": {func(s *testStore, token *Token) error {
			return s.tryAlter(token.ID, func(token *Token) { token.Scopes = Grants{"other:read"} })
		}, true},
		"rotated twice": {func(s *testStore, token *Token) error {
			return errors.Join(s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))), s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			token, credential := s.create(t)
			match := s.must(t, credential)
			var kept, first, stopped, last watched
			kept.allowed = func(m *Match) bool {
				return !m.Token.Scopes.Cover(Scope{Name: "other:read"}) || m.Token.Scopes.Cover(Scope{Name: token.Scopes[0]})
			}
			for _, w := range []*watched{&first, &stopped, &kept, &last} {
				s.Watch(&w.Watch, &match, w)
			}
			for _, w := range []*watched{&first, &stopped, &last} {
				w.Stop()
				w.Stop() // does nothing
			}
			if err := c.edit(s, token); err != nil {
				t.Fatal(err)
			}
			if n := kept.ended.Load(); (n == 1) != c.ends || n > 1 {
				t.Errorf("ended %d times when the change returned", n)
			}
			if n := first.ended.Load() + stopped.ended.Load() + last.ended.Load(); n != 0 {
				t.Errorf("stopped watches ended %d times", n)
			}
			kept.Stop() // does nothing if it has ended
			new(Watch).Stop()
		})
	}
}

// TestWatchPreviousSecret: an answer that began with the old secret ends with its
// grace, and not with the rotation.
func TestWatchPreviousSecret(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	s.alter(t, token.ID, rotate(testTime.Add(time.Hour)))
	match := s.must(t, credential)
	if !match.Previous {
		t.Fatal("the old secret isn't the previous one")
	}
	var w watched
	s.Watch(&w.Watch, &match, &w)
	s.alter(t, token.ID, func(token *Token) { token.Name = "x" })
	if w.ended.Load() != 0 {
		t.Error("ended within its grace")
	}
	s.alter(t, token.ID, func(token *Token) { token.PreviousValidUntil = testTime })
	if w.ended.Load() != 1 {
		t.Errorf("ended %d times at the end of its grace", w.ended.Load())
	}
}

// rotate gives a token another secret; the old one is valid until then.
func rotate(until time.Time) func(*Token) {
	return func(token *Token) {
		token.PreviousDigest, token.PreviousValidUntil = token.Digest, until
		token.Digest = DigestOf(fmt.Sprint(token.Version))
	}
}

// endOf is closed at its end.
type endOf chan struct{}

func (endOf) StillAllowed(m *Match) bool { return m.Status == StatusActive }
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
		t.Fatal("the answer goes on")
	}
}
