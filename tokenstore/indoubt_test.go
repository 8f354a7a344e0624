package tokenstore

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

var errDisk = errors.New("input/output error")

// fail makes changes fail with err. They are still stored unless lost is set.
func (s *testStore) fail(err error, lost bool) {
	s.memory.do(func() {
		s.memory.applyError, s.memory.applyLoses, s.memory.saveError, s.memory.timesError = err, lost, err, err
	})
}

// TestFailedChange verifies that the narrower state is in effect while it is unknown whether a
// change was stored, and that the stored state is in effect afterwards.
func TestFailedChange(t *testing.T) {
	t.Parallel()
	revoke := func(tok *token.Token) { tok.RevokedAt = testTime }
	disable := func(tok *token.Token) { tok.DisabledAt = testTime }
	enable := func(tok *token.Token) { tok.DisabledAt = time.Time{} }
	for name, c := range map[string]struct {
		before, change func(*token.Token)
		// meanwhile and fails are the status and the error that Authenticate returns until the
		// outcome is known.
		meanwhile     token.Status
		fails         error
		stored, other token.Status // final status if the change was stored and if it was not
	}{
		"revoke":  {nil, revoke, token.StatusRevoked, nil, token.StatusRevoked, token.StatusActive},
		"disable": {nil, disable, token.StatusDisabled, nil, token.StatusDisabled, token.StatusActive},
		"enable":  {disable, enable, token.StatusDisabled, nil, token.StatusActive, token.StatusDisabled},
		"shorter lifetime": {nil,
			func(tok *token.Token) { tok.ExpiresAt = testTime.Add(-time.Hour).Truncate(time.Second) },
			token.StatusExpired, nil, token.StatusExpired, token.StatusActive},
		"neither is narrower": {nil, func(tok *token.Token) {
			tok.Scopes, tok.ExpiresAt = token.Grants{"block:list"},
				time.Time{}
		}, 0, ErrUnavailable, token.StatusActive, token.StatusActive},
		"another account": {nil, func(tok *token.Token) { tok.Account = "alice" }, 0, ErrUnavailable,
			token.StatusActive, token.StatusActive},
	} {
		for _, lost := range []bool{false, true} {
			for _, used := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s := openTestStore(t)
					tok, credential := s.create(t)
					other, _ := s.create(t)
					if c.before != nil {
						s.alter(t, tok.ID, c.before)
					}
					if used {
						s.must(t, credential)
					}
					s.fail(errDisk, lost)
					if err := s.tryAlter(tok.ID, c.change); !errors.Is(err, ErrUnavailable) ||
						!errors.Is(err, errDisk) {
						t.Errorf("failed change: got error %v, want ErrUnavailable and the disk error", err)
					}
					if got, err := s.Authenticate(credential, testTime); !errors.Is(err, c.fails) ||
						got.Status != c.meanwhile {
						t.Errorf("while in doubt: got status %v, %v", got.Status, err)
					}
					if _, err := s.Get(tok.ID); !errors.Is(err, ErrUnavailable) {
						t.Errorf("Get while in doubt: got error %v, want ErrUnavailable", err)
					}
					for _, change := range []func(*token.Token){c.change,
						func(tok *token.Token) { tok.Name = "renamed" }} {
						if err := s.tryAlter(tok.ID, change); !errors.Is(err, ErrUnavailable) {
							t.Errorf("another change: got error %v, want ErrUnavailable", err)
						}
						if got, err := s.Authenticate(credential, testTime); !errors.Is(err, c.fails) ||
							got.Status != c.meanwhile {
							t.Errorf("after another change: got status %v, %v", got.Status, err)
						}
					}

					s.fail(nil, false)
					s.alter(t, other.ID, disable)
					want := c.stored
					if lost {
						want = c.other
					}
					if got := s.must(t, credential); got.Status != want {
						t.Errorf("once settled, the status is %v, want %v", got.Status, want)
					}
					if _, err := s.Get(tok.ID); err != nil {
						t.Errorf("Get once settled: got error %v", err)
					}
				})
			}
		}
	}
}

// TestFailedDeletion verifies that a token is refused until its deletion's outcome is known.
func TestFailedDeletion(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		s := openTestStore(t)
		tok, credential := s.create(t)
		s.fail(errDisk, lost)
		if err := s.Delete(tok.ID, token.AnyVersion, testActor); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Delete: got error %v, want ErrUnavailable", err)
		}
		if got, err := s.Authenticate(credential, testTime); err != nil || got.Status != token.StatusRevoked {
			t.Errorf("while in doubt: got status %v, %v, want revoked", got.Status, err)
		}
		s.fail(nil, false)
		check(t, s.settleChanges())
		got, err := s.Authenticate(credential, testTime)
		if lost && (err != nil || got.Status != token.StatusActive) || !lost && err != ErrNotFound {
			t.Errorf("lost %v: once settled, got status %v, %v", lost, got.Status, err)
		}
	}
}

// TestFailedCreation verifies that a repeated request doesn't return a token that might not be
// stored.
func TestFailedCreation(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	request := Request{Key: "key", Body: []byte("body")}
	s.fail(errDisk, false)
	if _, _, _, err := s.CreateOnce(testPolicy, validDraft(), testActor, request); !errors.Is(err, ErrUnavailable) {
		t.Errorf("first request: got error %v, want ErrUnavailable", err)
	}
	if _, _, repeated, err := s.CreateOnce(testPolicy, validDraft(), testActor, request); !errors.Is(err,
		ErrUnavailable) {
		t.Errorf("while in doubt: got repeated %v, %v, want ErrUnavailable", repeated, err)
	}
	s.fail(nil, false)
	if _, secret, repeated, err := s.CreateOnce(testPolicy, validDraft(), testActor, request); err != nil ||
		!repeated || secret.Reveal() != "" {
		t.Errorf("once settled: got repeated %v, %v, want true and no secret", repeated, err)
	}
}

// TestFlushSettlesChanges verifies that a background flush settles changes that are in doubt.
func TestFlushSettlesChanges(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	s.fail(errDisk, true)
	_ = s.tryAlter(tok.ID, func(tok *token.Token) { tok.RevokedAt = testTime })
	s.fail(nil, false)
	var flushFails, countsAtRisk condition
	s.flushInBackground(&flushFails, &countsAtRisk, time.Second)
	if got := s.must(t, credential); got.Status != token.StatusActive {
		t.Errorf("after the flush, the status is %v, want active", got.Status)
	}
}

// TestNarrower verifies how addresses and scopes determine which token is narrower.
func TestNarrower(t *testing.T) {
	t.Parallel()
	prefixes := func(texts ...string) (list []netip.Prefix) {
		for _, text := range texts {
			list = append(list, netip.MustParsePrefix(text))
		}
		return list
	}
	s := openTestStore(t)
	tok, _ := s.create(t)
	wide, narrow := *tok, *tok
	wide.AllowedIPs, narrow.AllowedIPs = prefixes("10.0.0.0/8", "fd00::/8"), prefixes("10.1.0.0/16")
	narrow.Scopes = token.Grants{"block:list"}
	wide.Scopes = token.Grants{"block:*", "unikernel:list"}
	if token.Narrower(&wide, &narrow, testTime) != &narrow || token.Narrower(&narrow, &wide, testTime) != &narrow {
		t.Error("Narrower didn't choose the token with a subset of the addresses and scopes")
	}
	narrow.AllowedIPs = prefixes("11.0.0.0/8")
	if token.Narrower(&wide, &narrow, testTime) != nil {
		t.Error("Narrower chose a token with other addresses")
	}
	narrow.AllowedIPs = nil
	if token.Narrower(&wide, &narrow, testTime) != nil {
		t.Error("Narrower chose a token that allows any address")
	}
}
