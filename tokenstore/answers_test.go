package tokenstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func TestEndWithToken(t *testing.T) {
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
		"rotated twice": {func(s *testStore, token *Token) error {
			return errors.Join(s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))), s.tryAlter(token.ID, rotate(testTime.Add(time.Hour))))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			token, credential := s.create(t)
			match := s.must(t, credential)
			var ended, released atomic.Int32
			release := s.EndWithToken(match, func() { released.Add(1) })
			s.EndWithToken(match, func() { ended.Add(1) })
			release()
			if err := c.edit(s, token); err != nil {
				t.Fatal(err)
			}
			if n := ended.Load(); (n == 1) != c.ends || n > 1 {
				t.Errorf("ended %d times when the change returned", n)
			}
			if released.Load() != 0 {
				t.Error("an answer that was over is ended")
			}
			release() // harmless
		})
	}
}

// TestEndWithPreviousSecret: an answer that began with the old secret ends with its
// grace, and not with the rotation.
func TestEndWithPreviousSecret(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	s.alter(t, token.ID, rotate(testTime.Add(time.Hour)))
	match := s.must(t, credential)
	if !match.Previous {
		t.Fatal("the old secret isn't the previous one")
	}
	var ended atomic.Int32
	s.EndWithToken(match, func() { ended.Add(1) })
	s.alter(t, token.ID, func(token *Token) { token.Name = "x" })
	if ended.Load() != 0 {
		t.Error("ended within its grace")
	}
	s.alter(t, token.ID, func(token *Token) { token.PreviousValidUntil = testTime })
	if ended.Load() != 1 {
		t.Errorf("ended %d times at the end of its grace", ended.Load())
	}
}

// rotate gives a token another secret; the old one is valid until then.
func rotate(until time.Time) func(*Token) {
	return func(token *Token) {
		token.PreviousDigest, token.PreviousValidUntil = token.Digest, until
		token.Digest = digestOf(fmt.Sprint(token.Version))
	}
}

func TestEndWithTokenAtExpiry(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	ended := make(chan struct{})
	s.EndWithToken(s.must(t, credential), func() { close(ended) })
	s.clock.set(token.ExpiresAt)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the answer goes on")
	}
}
