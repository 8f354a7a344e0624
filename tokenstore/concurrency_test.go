package tokenstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestLoadDuringChange verifies that a request that read the token before a change doesn't
// undo the change in memory.
func TestLoadDuringChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testStore, token.ID) error
		after  func(Match, error) bool
	}{
		"delete": {
			func(s *testStore, id token.ID) error { return s.Delete(id, token.AnyVersion, testActor) },
			func(_ Match, err error) bool { return err == ErrNotFound },
		},
		"revoke": {
			func(s *testStore, id token.ID) error {
				return s.tryAlter(id, func(token *token.Token) { token.RevokedAt = testTime })
			},
			func(m Match, err error) bool { return err == nil && m.Status == token.StatusRevoked },
		},
		"rotate without grace": {
			func(s *testStore, id token.ID) error {
				return s.tryAlter(id, func(tok *token.Token) { tok.Digest = token.DigestOf("new") })
			},
			func(_ Match, err error) bool { return err == ErrNotFound },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			tok, credential := s.create(t)

			changed := make(chan error, 1)
			// The request has read the record. Start the change, which either waits for the
			// request or completes first.
			s.memory.afterToken = func(id token.ID) {
				s.memory.afterToken = nil
				go func() { changed <- c.change(s, id) }()
				deadline := time.Now().Add(10 * time.Second)
				for time.Now().Before(deadline) {
					if len(changed) > 0 || s.index.locks.waiting(id) {
						return
					}
					time.Sleep(time.Millisecond)
				}
				t.Error("the change neither waited nor completed")
			}
			// A request that began before the change may see either state.
			if _, err := s.Authenticate(credential, testTime); err != nil && err != ErrNotFound {
				t.Errorf("request that began before the change: got error %v", err)
			}
			if err := <-changed; err != nil {
				t.Fatal(err)
			}
			if got, err := s.Authenticate(credential, testTime); !c.after(got, err) {
				t.Errorf("request that began after the change: got status %v, %v", got.Status, err)
			}
			if name != "revoke" && s.index.match(tok.Digest, testTime, new(Match)) {
				t.Error("the old secret can still be found in memory")
			}
		})
	}
}

// TestChangeBetweenLookups verifies that a token is unknown, not damaged, if it is removed
// after its digest was looked up and before its record is read.
func TestChangeBetweenLookups(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testStore, token.ID) error{
		"delete": func(s *testStore, id token.ID) error { return s.Delete(id, token.AnyVersion, testActor) },
		"rotate": func(s *testStore, id token.ID) error {
			return s.tryAlter(id, func(tok *token.Token) { tok.Digest = token.DigestOf("new") })
		},
	} {
		s := openTestStore(t)
		_, credential := s.create(t)
		s.memory.afterIDOf = func(id token.ID) {
			s.memory.afterIDOf = nil
			if err := change(s, id); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Authenticate(credential, testTime); err != ErrNotFound {
			t.Errorf("%s: got error %v, want ErrNotFound", name, err)
		}
	}
}

// waiting reports whether a goroutine is waiting for id's lock.
func (l *idLocks) waiting(id token.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[id] != nil && l.held[id].users > 1
}

// TestChangesDuringUse revokes tokens in constant use. A request that begins after the change
// has returned must not see an active token.
func TestChangesDuringUse(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		tok, credential := s.create(t)
		var revoked atomic.Bool
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for n := 0; n < 20; {
					before := revoked.Load()
					match, err := s.Authenticate(credential, testTime)
					if err != nil {
						t.Errorf("Authenticate: %v", err)
						return
					}
					if before {
						n++
						if match.Status != token.StatusRevoked {
							t.Errorf("a request after the change saw status %v, want revoked", match.Status)
							return
						}
					}
					s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
				}
			})
		}
		s.alter(t, tok.ID, func(token *token.Token) { token.RevokedAt = testTime })
		revoked.Store(true)
		users.Wait()
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	match := s.must(t, credential)
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close returned %v", err)
	}
	if !s.memory.closed {
		t.Error("Close didn't close the backend")
	}
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime}) // too late, but harmless
	s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
	calls := map[string]error{}
	_, calls["Authenticate"] = s.Authenticate(credential, testTime)
	_, _, calls["Create"] = s.Create(testPolicy, validDraft(), testActor)
	_, calls["Get"] = s.Get(tok.ID)
	_, _, calls["List"] = s.List(Page{})
	calls["Delete"] = s.Delete(tok.ID, token.AnyVersion, testActor)
	calls["Flush"] = s.Flush()
	for name, err := range calls {
		if !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s on a closed store: got error %v, want ErrClosed", name, err)
		}
	}
	again := reopen(t, s.memory, s.clock)
	if got, err := again.Get(tok.ID); err != nil || got.Usage.Allowed != 1 {
		t.Errorf("after reopening: got %+v, %v, want 1 allowed request", got, err)
	}
}

// TestCloseDuringUse closes a store in use. It verifies that each call either succeeds or
// fails with ErrClosed and that everything counted before Close is saved.
func TestCloseDuringUse(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := openTestStore(t)
		token, credential := s.create(t)
		var before atomic.Uint64
		var closing atomic.Bool
		started := make(chan struct{}, 8)
		var users sync.WaitGroup
		for i := range 8 {
			users.Go(func() {
				for n := 0; ; n++ {
					if n == 10 {
						started <- struct{}{}
					}
					var err error
					switch i {
					case 0:
						_, _, err = s.Create(testPolicy, validDraft(), testActor)
					case 1:
						if err = s.Flush(); err == nil && s.closed.Load() {
							return // nothing was left to save
						}
					case 2:
						_, err = s.Get(token.ID)
					default:
						var match Match
						if match, err = s.Authenticate(credential, testTime); err == nil {
							s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
							if !closing.Load() {
								before.Add(1)
							}
						}
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("user %d: got error %v, want ErrClosed", i, err)
						}
						return
					}
				}
			})
		}
		for range cap(started) {
			<-started
		}
		closing.Store(true)
		counted := before.Load()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		users.Wait()
		s.memory.reopen()
		if used, err := s.memory.saved(token.ID); err != nil || used.Allowed < counted {
			t.Fatalf("only %d requests were saved, but %d were counted before Close", used.Allowed, counted)
		}
	}
}
