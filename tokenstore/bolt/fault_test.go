package bolt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// within fails the test if f hangs, for example because a fault left a lock held.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hung", what)
		return nil
	}
}

// TestTruncatedWhileOpen verifies that the process survives a truncation of the file, that
// tokens in memory stay valid, and that all other calls fail without writing to the file.
func TestTruncatedWhileOpen(t *testing.T) {
	t.Parallel()
	// surprise means that the file is truncated after its size has been checked, so bbolt
	// accesses pages past the end of the file.
	for _, surprise := range []bool{false, true} {
		for _, size := range []int64{0, 1, 100, 4096, 8192, 8193, 12288, 65536, -1} {
			t.Run(fmt.Sprintf("to %d, surprise %v", size, surprise), func(t *testing.T) {
				t.Parallel()
				path := newPath(t)
				b := mustOpen(t, path)
				s := openStore(t, b)
				var tokens []testToken
				for range 300 {
					tokens = append(tokens, makeToken(t, s))
				}
				loaded := tokens[0]
				match, err := s.Authenticate(loaded.credential, testTime)
				check(t, err)

				size := size
				if size < 0 {
					size = b.current.Load().size.Load() - 4096
				}
				check(t, os.Truncate(path, size))
				if surprise {
					b.current.Load().size.Store(0)
				}
				for round := range 2 {
					if match, err := s.Authenticate(loaded.credential, testTime); err != nil ||
						match.Status != token.StatusActive {
						t.Errorf("token in memory: got status %v, err %v, want active", match.Status, err)
					}
					for what, f := range map[string]func() error{
						"a token that isn't in memory": func() error {
							for _, token := range tokens[10:] {
								if _, err := s.Authenticate(token.credential, testTime); err != nil {
									return err
								}
							}
							return nil
						},
						"a new token": func() error {
							_, _, err := s.Create(testPolicy,
								token.Draft{Kind: token.KindAPI, Name: "x", Preset: "full",
									Expiry: token.Expiry{NeverExpires: true}}, testActor)
							return err
						},
						"a deletion": func() error { return s.Delete(tokens[7+round].ID, token.AnyVersion, testActor) },
						"usage": func() error {
							s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime})
							return s.Flush()
						},
					} {
						err := within(t, what, f)
						if err != nil &&
							(!errors.Is(err, tokenstore.ErrUnavailable) || errors.Is(err, tokenstore.ErrNotFound)) ||
							err == nil && !surprise {
							t.Errorf("%s: got err %v, want ErrUnavailable", what, err)
						}
						if err != nil && !strings.Contains(err.Error(), "restore a backup") {
							t.Errorf("%s: the error doesn't say what to do: %v", what, err)
						}
					}
					if surprise {
						continue
					}
					if info, err := os.Stat(path); err != nil || info.Size() != size {
						t.Errorf("the file has %d bytes, err %v; want its size unchanged", info.Size(), err)
					}
				}
				_ = within(t, "Close", s.Close) // its last flush fails
				if _, err := b.Token(loaded.ID); !errors.Is(err, tokenstore.ErrUnavailable) {
					t.Errorf("after Close: got err %v, want ErrUnavailable", err)
				}
				if surprise {
					return
				}
				// The lock must be released, or a restored store couldn't be opened.
				check(t, errors.Join(os.Remove(path), os.Remove(path+journalSuffix)))
				if err := within(t, "Open", func() error { return mustOpen(t, path).Close() }); err != nil {
					t.Errorf("opening a new store: %v", err)
				}
			})
		}
	}
}

// TestStuckReleasesLock verifies that this process can open the file again after a fault has
// left one of bbolt's locks held.
func TestStuckReleasesLock(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	whole, err := os.ReadFile(path)
	check(t, err)
	check(t, os.Truncate(path, 0))
	b.current.Load().size.Store(0)
	for range 2 {
		if err := within(t, "a read", func() error { _, err := recorded(b); return err }); !errors.Is(err,
			tokenstore.ErrUnavailable) {
			t.Errorf("reading: got err %v, want ErrUnavailable", err)
		}
		err := within(t, "a write", func() error {
			return b.SaveUsage(testTime, tokenstore.FlushState{}, maps.All[map[token.ID]tokenstore.Usage](nil))
		})
		if !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Errorf("writing: got err %v, want ErrUnavailable", err)
		}
	}
	if !b.current.Load().stuck.Load() {
		t.Fatal("bbolt isn't stuck, so the test checks nothing")
	}
	check(t, os.WriteFile(path, whole, 0o600))
	check(t, within(t, "Close", b.Close))
	mustOpen(t, path)
}

// TestConcurrentFaults verifies that all concurrent readers return when they hit a fault.
func TestConcurrentFaults(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	var tokens []testToken
	for range 100 {
		tokens = append(tokens, makeToken(t, s))
	}
	check(t, os.Truncate(path, 8192)) // only the meta pages remain
	b.current.Load().size.Store(0)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for _, token := range tokens {
				if _, err := b.Token(token.ID); err != nil && !errors.Is(err, tokenstore.ErrUnavailable) {
					t.Errorf("reading a token: got err %v, want ErrUnavailable or none", err)
				}
			}
		})
	}
	check(t, within(t, "a reader", func() error { readers.Wait(); return nil }))
	if b.current.Load().stuck.Load() {
		t.Error("faults in token pages made the whole store unusable")
	}
	check(t, within(t, "Close", b.Close))
}

// TestReplacedWhileOpen verifies that changes fail once the file has been moved away, because
// they would otherwise be lost.
func TestReplacedWhileOpen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		remove, putBack func(t *testing.T, path string)
	}{
		"moved away": {
			func(t *testing.T, path string) { check(t, os.Rename(path, path+".old")) },
			func(t *testing.T, path string) { check(t, os.Rename(path+".old", path)) },
		},
		"replaced": {
			func(t *testing.T, path string) {
				check(t, os.Rename(path, path+".old"))
				makeStore(t, path, 0, storeFormat.createSchema)
			},
			func(t *testing.T, path string) { check(t, os.Rename(path+".old", path)) },
		},
		"removed": {func(t *testing.T, path string) { check(t, os.Remove(path)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			b := mustOpen(t, path)
			s := openStore(t, b)
			tok, unused := makeToken(t, s), makeToken(t, s)
			match, err := s.Authenticate(tok.credential, testTime)
			check(t, err)
			c.remove(t, path)
			s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime})
			for what, err := range map[string]error{
				"a deletion": s.Delete(tok.ID, token.AnyVersion, testActor), "usage": s.Flush(),
			} {
				if !errors.Is(err, tokenstore.ErrUnavailable) ||
					!strings.Contains(err.Error(), "moved away or replaced") || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: got err %v, want ErrUnavailable and the path", what, err)
				}
			}
			// Tokens remain readable in the original file.
			for _, credential := range []token.Credential{tok.credential, unused.credential} {
				if match, err := s.Authenticate(credential, testTime); err != nil ||
					match.Status != token.StatusActive {
					t.Errorf("Authenticate: got status %v, err %v, want active", match.Status, err)
				}
			}
			if c.putBack == nil {
				return
			}
			c.putBack(t, path)
			check(t, s.Flush())
			check(t, s.Delete(unused.ID, token.AnyVersion, testActor))
			if got, err := s.Get(tok.ID); err != nil || got.Usage.Allowed != 1 {
				t.Errorf("usage after the file was put back: got %+v, err %v, want 1 allowed request", got.Usage, err)
			}
		})
	}
}

// TestFailedCommit verifies that a change that couldn't be written has no effect in memory or
// in the file, and that later changes succeed.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	tok := makeToken(t, s)
	match, err := s.Authenticate(tok.credential, testTime)
	check(t, err)
	full := func(yes bool) {
		b.writing.Lock()
		defer b.writing.Unlock()
		b.current.Load().db.MaxSize = 0
		if yes {
			b.current.Load().db.MaxSize = 1 // the file can't grow
		}
	}
	full(true)
	var created int
	for ; err == nil && created < 1000; created++ {
		_, _, err = s.Create(testPolicy, token.Draft{
			Kind: token.KindAPI, Name: strings.Repeat("x", 100), Preset: "full",
			Expiry: token.Expiry{ExpiresAt: testTime.AddDate(1, 0, 0)},
		}, testActor)
	}
	if !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Fatalf("disk full after %d tokens: got err %v, want ErrUnavailable", created, err)
	}
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil && !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("deleting a token: %v", err)
	} else if stored, storeErr := b.Token(tok.ID); (storeErr == nil) != (err != nil) {
		t.Errorf("deleting a token: err %v; token in the file: %v, err %v", err, stored, storeErr)
	} else if _, memoryErr := s.Authenticate(tok.credential, testTime); (memoryErr == nil) != (storeErr == nil) {
		t.Errorf("reading the token from the file: err %v; from memory: err %v", storeErr, memoryErr)
	}
	s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime})
	full(false)
	check(t, s.Flush())
	listed, _, err := s.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 2000})
	check(t, err)
	again := makeToken(t, s)
	check(t, s.Close())
	b = mustOpen(t, path)
	for _, token := range listed {
		if _, err := b.Token(token.Token.ID); err != nil {
			t.Errorf("reading a listed token: %v", err)
		}
	}
	if _, err := b.Token(again.ID); err != nil {
		t.Errorf("reading a token created after the disk was full: %v", err)
	}
	checkConsistent(t, b)
}

// TestChangePanics verifies that a panic in a ChangeFunc crashes neither the process nor the
// store.
func TestChangePanics(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	tok := makeToken(t, s)
	err := within(t, "the change", func() error {
		return change(b, tok.ID, func(*token.Token) { panic("a bug") })
	})
	if !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("panic in a change: got err %v, want ErrUnavailable", err)
	}
	mustChange(t, b, tok.ID, func(token *token.Token) { token.Name = "after" })
	if got, err := b.Token(tok.ID); err != nil || got.Name != "after" || got.Version != 2 {
		t.Errorf("token after the panic: got %+v, err %v, want the changed name and version 2", got, err)
	}
}

// checkConsistent verifies that the buckets agree with each other, and runs bbolt's own check.
func checkConsistent(t testing.TB, b *Backend) {
	t.Helper()
	err := b.view(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt reports: %v", err)
		}
		tokens, digests := 0, 0
		err := tx.Bucket(tokensBucket).ForEach(func(key, _ []byte) error {
			token, err := readToken(tx, token.ID(key))
			if err != nil {
				t.Errorf("token %s: %v", key, err)
				return nil
			}
			tokens, digests = tokens+1, digests+len(token.Digests())
			for bucket, order := range map[string]tokenstore.Order{"created": tokenstore.OrderCreated,
				"expires": tokenstore.OrderExpires} {
				if tx.Bucket([]byte(bucket)).Get(orderKey(order, token)) == nil {
					t.Errorf("token %s isn't in %s", key, bucket)
				}
			}
			return nil
		})
		for bucket, want := range map[string]int{"created": tokens, "expires": tokens, "digests": digests} {
			if got := tx.Bucket([]byte(bucket)).Stats().KeyN; got != want {
				t.Errorf("%s has %d entries, want %d", bucket, got, want)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
