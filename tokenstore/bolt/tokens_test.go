package bolt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func TestDigests(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
	tok, other := makeToken(t, s), makeToken(t, s)
	next := token.Digest(sha256.Sum256([]byte("next")))
	leads := func(digest token.Digest, want token.ID, wantErr error) {
		t.Helper()
		if id, err := b.IDOf(digest); id != want || !errors.Is(err, wantErr) {
			t.Errorf("leads to %v, %v, want %v, %v", id, err, want, wantErr)
		}
	}
	leads(tok.Digest, tok.ID, nil)
	leads(next, token.ID{}, tokenstore.ErrNotFound)
	leads(token.Digest{}, token.ID{}, tokenstore.ErrNotFound)

	mustChange(t, b, tok.ID, func(token *token.Token) { token.PreviousDigest, token.Digest = token.Digest, next })
	leads(tok.Digest, tok.ID, nil)
	leads(next, tok.ID, nil)
	checkConsistent(t, b)

	// Nobody gets a digest that leads to another, and then nothing is changed.
	for _, digest := range []token.Digest{next, tok.Digest} {
		for _, edit := range []func(*token.Token){
			func(other *token.Token) { other.Digest = digest },
			func(other *token.Token) { other.PreviousDigest = digest },
		} {
			if err := change(b, other.ID, edit); !errors.Is(err, tokenstore.ErrTaken) {
				t.Errorf("a digest twice: %v", err)
			}
		}
	}
	leads(other.Digest, other.ID, nil)
	if got, err := b.Token(other.ID); err != nil || got.Version != 1 {
		t.Errorf("got %+v, %v", got, err)
	}

	mustChange(t, b, tok.ID, func(tok *token.Token) { tok.PreviousDigest = token.Digest{} })
	leads(tok.Digest, token.ID{}, tokenstore.ErrNotFound)
	leads(next, tok.ID, nil)
	mustChange(t, b, other.ID, func(other *token.Token) { other.PreviousDigest = tok.Digest })
	leads(tok.Digest, other.ID, nil)
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	leads(next, token.ID{}, tokenstore.ErrNotFound)
	if err := s.Delete(other.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, b)
}

// TestNoSecretInTheFile looks for what is presented in what is stored (LOG-14).
func TestNoSecretInTheFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	_, secret, err := s.Create(testPolicy, token.Draft{Kind: token.KindAdmin, Name: "x", Expiry: token.Expiry{NeverExpires: true}}, testActor)
	check(t, err)
	check(t, s.Close())
	raw, err := os.ReadFile(path)
	check(t, err)
	text := secret.Reveal()
	if !bytes.Contains(raw, []byte(text[4:16])) {
		t.Error("the id isn't in the file, so nothing is tested")
	}
	for i := 17; i+8 <= len(text); i++ {
		if bytes.Contains(raw, []byte(text[i:i+8])) {
			t.Fatal("a part of the secret is in the file")
		}
	}
}

// TestOutdatedRecord makes bbolt read an outdated page of tokens, as a flipped bit
// in a page number would: its records are sound, but say that a revoked token is
// active and a deleted one is there.
func TestOutdatedRecord(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := storeOver(t, b)
	revoked, deleted, rotated, same := makeToken(t, s), makeToken(t, s), makeToken(t, s), makeToken(t, s)
	var records [][]byte
	tokens := []made{revoked, deleted, rotated, same}
	check(t, b.view(func(tx *bbolt.Tx) error {
		for _, token := range tokens {
			records = append(records, bytes.Clone(tx.Bucket(tokensBucket).Get(token.ID[:])))
		}
		return nil
	}))
	mustChange(t, b, revoked.ID, func(token *token.Token) { token.RevokedAt = testTime })
	mustChange(t, b, rotated.ID, func(token *token.Token) { token.Digest[0] ^= 1 })
	check(t, s.Delete(deleted.ID, token.AnyVersion, testActor))
	check(t, b.update(func(tx *bbolt.Tx) error {
		for i, token := range tokens {
			if err := tx.Bucket(tokensBucket).Put(token.ID[:], records[i]); err != nil {
				return err
			}
		}
		return nil
	}))
	for name, c := range map[string]struct {
		made
		want error
	}{
		// The secrets of the deleted token and of the rotated one are forgotten in
		// digests, which is sound.
		"revoked": {revoked, token.ErrDamaged}, "deleted": {deleted, tokenstore.ErrNotFound},
		"rotated": {rotated, tokenstore.ErrNotFound}, "unchanged": {same, nil},
	} {
		if _, err := s.Authenticate(c.credential, testTime); !errors.Is(err, c.want) {
			t.Errorf("%s: Authenticate: %v", name, err)
		}
		if name == "unchanged" {
			continue
		}
		if _, err := b.Token(c.ID); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: Token: %v", name, err)
		}
		// An edit would bring the old state back for good.
		if err := change(b, c.ID, func(token *token.Token) { token.Name = "x" }); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: Apply: %v", name, err)
		}
	}
}

// TestApplyRefusals: what a change refuses leaves nothing behind, not even the
// time.
func TestApplyRefusals(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	errNo := errors.New("no")
	_, err := b.Apply(token.ID{1}, testTime, func(old *token.Token) (tokenstore.Change, error) {
		if old != nil {
			t.Errorf("there is a token %v", old)
		}
		return tokenstore.Change{}, errNo
	})
	if err != errNo {
		t.Errorf("got %v", err)
	}
	if recorded, err := recorded(b); err != nil || !recorded.IsZero() {
		t.Errorf("%s is recorded, %v", recorded, err)
	}
	check(t, b.view(func(tx *bbolt.Tx) error {
		if n := tx.Bucket(auditBucket).Stats().KeyN; n != 0 {
			t.Errorf("%d audit entries", n)
		}
		return nil
	}))
}

// TestManyChanges makes changes from many goroutines, some of which are refused:
// each that is told of is stored, with one line in the audit.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := storeOver(t, b)
	const makers, each = 16, 12
	var mu sync.Mutex
	kept := make(map[token.ID]*token.Token)
	lines := 0
	var all sync.WaitGroup
	for range makers {
		all.Go(func() {
			for i := range each {
				tok := makeToken(t, s)
				changes := 1
				switch i % 3 {
				case 0:
					mustChange(t, b, tok.ID, func(token *token.Token) { token.RevokedAt = testTime })
					changes++
				case 1:
					if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
						t.Error(err)
					}
					changes++
					if err := s.Delete(tok.ID, token.AnyVersion, testActor); !errors.Is(err, tokenstore.ErrNotFound) {
						t.Errorf("a second deletion: %v", err)
					}
				}
				mu.Lock()
				lines += changes
				if i%3 != 1 {
					kept[tok.ID] = tok.Token
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	check(t, s.Close())
	b = mustOpen(t, path)
	checkConsistent(t, b)
	found := 0
	check(t, b.List(tokenstore.OrderCreated, nil, false, func(token *token.Token) bool {
		found++
		if kept[token.ID] == nil || (token.RevokedAt.IsZero() != (token.Version == 1)) {
			t.Errorf("listed is %+v", token)
		}
		return true
	}))
	if found != len(kept) {
		t.Errorf("%d tokens are stored, want %d", found, len(kept))
	}
	check(t, b.view(func(tx *bbolt.Tx) error {
		n := 0
		err := tx.Bucket(auditBucket).ForEach(func(key, record []byte) error {
			n++
			_, err := tokenstore.DecodeAuditEntry(key, record)
			return err
		})
		if n != lines {
			t.Errorf("%d lines in the audit, want %d", n, lines)
		}
		return err
	}))
}

// TestSharedCommit: changes that come while another is being written share the
// next commit, and one that is refused hinders none of the others.
func TestSharedCommit(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	commits := make(chan int, 100)
	run := b.commits.run
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.commits.run = func(batch []*pending) {
		commits <- len(batch)
		once.Do(func() { close(begun); <-goOn })
		run(batch)
	}
	errNo := errors.New("no")
	var changes sync.WaitGroup
	apply := func(i int) {
		changes.Go(func() {
			id := token.ID([]byte(fmt.Sprintf("token%07d", i)))
			_, err := b.Apply(id, testTime, func(*token.Token) (tokenstore.Change, error) {
				if i%5 == 3 {
					return tokenstore.Change{}, errNo
				}
				return tokenstore.Change{Token: &token.Token{
					ID: id, Terms: token.Terms{Kind: token.KindAPI}, Format: token.FormatNative, CreatedAt: testTime,
					Digest: sha256.Sum256(id[:]), Version: 1,
				}, Audit: tokenstore.AuditEntry{Time: testTime, TokenID: id}}, nil
			})
			if want := map[bool]error{true: errNo}[i%5 == 3]; err != want {
				t.Errorf("change %d: %v", i, err)
			}
		})
	}
	apply(0)
	<-begun
	for i := 1; i <= 20; i++ {
		apply(i)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b.commits.mu.Lock()
		n := len(b.commits.waiting)
		b.commits.mu.Unlock()
		if n == 20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d changes are waiting", n)
		}
	}
	close(goOn)
	changes.Wait()
	if first, second := <-commits, <-commits; first != 1 || second != 20 || len(commits) > 0 {
		t.Errorf("commits of %d and %d, and %d more", first, second, len(commits))
	}
	checkConsistent(t, b)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := storeOver(t, b)
	tok, deleted := makeToken(t, s), makeToken(t, s)
	check(t, s.Delete(deleted.ID, token.AnyVersion, testActor))
	if used, err := usageOf(b, tok.ID); err != nil || !reflect.DeepEqual(used, tokenstore.Usage{}) {
		t.Errorf("unused %+v, %v", used, err)
	}
	want := tokenstore.Usage{Allowed: 3, Denied: 4, Last: tokenstore.LastUse{Time: testTime.Truncate(time.Microsecond), IP: "::1", UserAgent: "curl", Route: "GET /x"}}
	later := testTime.Add(time.Hour)
	check(t, b.SaveUsage(later, tokenstore.FlushState{}, maps.All(map[token.ID]tokenstore.Usage{deleted.ID: want, tok.ID: want})))
	check(t, b.Close())
	b = mustOpen(t, path)
	if used, err := usageOf(b, tok.ID); err != nil || !reflect.DeepEqual(used, want) {
		t.Errorf("used %+v, %v", used, err)
	}
	if used, err := usageOf(b, deleted.ID); err != nil || !reflect.DeepEqual(used, tokenstore.Usage{}) {
		t.Errorf("a deleted token is used %+v, %v", used, err)
	}
	if recorded, err := recorded(b); err != nil || !recorded.Equal(later) {
		t.Errorf("%s is recorded, %v", recorded, err)
	}
	// An earlier time changes nothing.
	check(t, b.SaveUsage(testTime, tokenstore.FlushState{}, maps.All[map[token.ID]tokenstore.Usage](nil)))
	if recorded, err := recorded(b); err != nil || !recorded.Equal(later) {
		t.Errorf("%s is recorded, %v", recorded, err)
	}
	check(t, b.Close())
	for what, err := range map[string]error{
		"SaveUsage": b.SaveUsage(later, tokenstore.FlushState{}, maps.All[map[token.ID]tokenstore.Usage](nil)), "Apply": change(b, tok.ID, func(*token.Token) {}),
		"List": b.List(tokenstore.OrderCreated, nil, false, nil),
	} {
		if !errors.Is(err, tokenstore.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	if _, err := b.Token(tok.ID); !errors.Is(err, tokenstore.ErrClosed) {
		t.Errorf("Token after Close: %v", err)
	}
}

// TestCloseDuringUse closes a store in the middle of everything: a call does its
// work or says that the store is closed, and closing waits for no more (CFG-06).
func TestCloseDuringUse(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := newPath(t)
		b := mustOpen(t, path)
		tok := makeToken(t, storeOver(t, b))
		begun := make(chan struct{}, 6)
		var users sync.WaitGroup
		for i, use := range []func() error{
			func() error { _, err := b.IDOf(tok.Digest); return err },
			func() error { _, err := b.Token(tok.ID); return err },
			func() error { _, err := usageOf(b, tok.ID); return err },
			func() error {
				return b.SaveUsage(testTime, tokenstore.FlushState{}, maps.All(map[token.ID]tokenstore.Usage{tok.ID: {}}))
			},
			func() error { return change(b, tok.ID, func(token *token.Token) { token.Name += "x" }) },
			func() error {
				return b.List(tokenstore.OrderCreated, nil, false, func(*token.Token) bool { return true })
			},
		} {
			users.Go(func() {
				for n := 0; ; n++ {
					if n == 2 {
						begun <- struct{}{}
					}
					if err := use(); errors.Is(err, tokenstore.ErrClosed) {
						return
					} else if err != nil {
						t.Errorf("user %d: %v", i, err)
						begun <- struct{}{}
						return
					}
				}
			})
		}
		for range cap(begun) {
			<-begun
		}
		check(t, b.Close())
		users.Wait()
		checkConsistent(t, mustOpen(t, path))
	}
}

// TestDurable: what Apply has told of is in the file, whoever reads it.
func TestDurable(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	for range 5 {
		token := makeToken(t, s)
		raw, err := os.ReadFile(path)
		check(t, err)
		copied := newPath(t)
		check(t, os.WriteFile(copied, raw, 0o600))
		b := mustOpen(t, copied)
		if _, err := b.Token(token.ID); err != nil {
			t.Errorf("a copy of the file: %v", err)
		}
		check(t, b.Close())
	}
}
