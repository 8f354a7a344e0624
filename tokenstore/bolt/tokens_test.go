package bolt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestNoSecretInFile verifies that the file contains no part of a token's secret.
func TestNoSecretInFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	_, secret, err := s.Create(testPolicy,
		token.Draft{Kind: token.KindAdmin, Name: "x", Expiry: token.Expiry{NeverExpires: true}}, testActor)
	check(t, err)
	check(t, s.Close())
	raw, err := os.ReadFile(path)
	check(t, err)
	text := secret.Reveal()
	if !bytes.Contains(raw, []byte(text[4:16])) {
		t.Error("the ID isn't in the file, so the test checks nothing")
	}
	for i := 17; i+8 <= len(text); i++ {
		if bytes.Contains(raw, []byte(text[i:i+8])) {
			t.Fatal("part of the secret is in the file")
		}
	}
}

// TestOutdatedRecord makes bbolt read an outdated page of tokens, as it would after a bit flip
// in a page number. The page's records are valid, but a revoked token is active and a deleted
// token exists.
func TestOutdatedRecord(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	revoked, deleted, rotated, same := makeToken(t, s), makeToken(t, s), makeToken(t, s), makeToken(t, s)
	var records [][]byte
	tokens := []testToken{revoked, deleted, rotated, same}
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
		testToken
		want error
	}{
		// The digests bucket is current, so it no longer contains the deleted token's secret
		// or the rotated token's old secret.
		"revoked": {revoked, token.ErrDamaged}, "deleted": {deleted, tokenstore.ErrNotFound},
		"rotated": {rotated, tokenstore.ErrNotFound}, "unchanged": {same, nil},
	} {
		if _, err := s.Authenticate(c.credential, testTime); !errors.Is(err, c.want) {
			t.Errorf("%s: Authenticate: got err %v, want %v", name, err, c.want)
		}
		if name == "unchanged" {
			continue
		}
		if _, err := b.Token(c.ID); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: Token: got err %v, want ErrDamaged", name, err)
		}
		// An edit would make the outdated state permanent.
		if err := change(b, c.ID, func(token *token.Token) { token.Name = "x" }); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: Apply: got err %v, want ErrDamaged", name, err)
		}
	}
}

// TestSharedCommit verifies that changes that arrive during a commit share the next one, and
// that a refused change doesn't affect the others.
func TestSharedCommit(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	commits := make(chan int, 100)
	run := b.commits.run
	begun, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.commits.run = func(batch []*pending) {
		commits <- len(batch)
		once.Do(func() { close(begun); <-resume })
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
				t.Errorf("change %d: got err %v, want %v", i, err, want)
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
	close(resume)
	changes.Wait()
	if first, second := <-commits, <-commits; first != 1 || second != 20 || len(commits) > 0 {
		t.Errorf("got commits of %d and %d changes and %d more commits, want 1, 20 and none", first, second,
			len(commits))
	}
	checkConsistent(t, b)
}
