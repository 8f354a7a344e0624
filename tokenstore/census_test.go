package tokenstore

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

func TestCensus(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	const day = 24 * time.Hour
	for _, hours := range []int64{12, 24, 25, 24 * 8} {
		_, credential := s.create(t, func(d *token.Draft) { d.ExpiresIn = seconds(hours * 3600) })
		match := s.must(t, credential)
		s.CountAllowed(match, "unikernel:list", LastUse{Time: s.Now()})
		s.CountDenied(match, Refusal{Time: s.Now(), Code: "ip_denied"})
		s.CountDenied(match, Refusal{Time: s.Now(), Code: "ip_denied"})
	}
	revoked, _ := s.create(t)
	if _, err := s.Revoke(revoked.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	later := testTime.Add(time.Hour)
	s.create(t, func(d *token.Draft) { d.NotBefore = later })
	if _, _, err := s.Create(token.Policy{Prefixes: testPolicy.Prefixes, Accounts: testPolicy.Accounts,
		Catalog: testPolicy.Catalog}, token.Draft{
		Kind: token.KindAPI, Name: "unlimited", Preset: "read", Expiry: token.Expiry{NeverExpires: true},
	}, testActor); err != nil {
		t.Fatal(err)
	}
	want := Census{
		ByStatus: map[token.Status]int{token.StatusActive: 5, token.StatusRevoked: 1, token.StatusNotYetValid: 1,
			token.StatusDisabled: 0, token.StatusExpired: 0, token.StatusDamaged: 0},
		Expiring: []int{0, 0, 0}, Allowed: 4, Denied: 8,
	}
	if got, err := s.Census(t.Context(), day, 7*day, 30*day); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("before any time passed: got %+v, %v\nwant %+v", got, err, want)
	}
	// The tokens with lifetimes of 12, 24 and 25 hours expire within a day, and the last one
	// expires within 8 days. Only the first is in the last quarter of its lifetime.
	s.clock.set(testTime.Add(10 * time.Hour))
	want.Expiring = []int{1, 1, 1}
	want.ByStatus[token.StatusActive], want.ByStatus[token.StatusNotYetValid] = 6, 0
	if got, err := s.Census(t.Context(), day, 7*day, 30*day); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("after 10 hours: got %+v, %v\nwant %+v", got, err, want)
	}
	s.clock.set(testTime.Add(13 * time.Hour))
	if got, err := s.Census(t.Context()); err != nil || got.ByStatus[token.StatusExpired] != 1 {
		t.Errorf("after 13 hours: got %+v, %v, want 1 expired token", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Census(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled census: got error %v, want context.Canceled", err)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	if err := s.Ping(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ping of a closed store: got error %v, want ErrUnavailable", err)
	}
}

// TestPending verifies that Pending returns the number of tokens with unsaved counts.
func TestPending(t *testing.T) {
	t.Parallel()
	flushed := make(chan int, 10)
	s := openTestStore(t)
	s.flushed = func(took time.Duration, tokens int) {
		if took < 0 {
			t.Errorf("Flushed was called with the negative duration %s", took)
		}
		flushed <- tokens
	}
	for range 3 {
		_, credential := s.create(t)
		for range 2 {
			s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: s.Now()})
		}
	}
	if n := s.Pending(); n != 3 {
		t.Errorf("%d tokens are pending, want 3", n)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := s.Pending(); n != 0 {
		t.Errorf("%d tokens are pending after a flush, want none", n)
	}
	if got := <-flushed; got != 3 {
		t.Errorf("Flushed reported %d tokens, want 3", got)
	}
	if err := s.Flush(); err != nil || len(flushed) > 0 {
		t.Errorf("an empty flush called Flushed or failed: %v", err)
	}
}
