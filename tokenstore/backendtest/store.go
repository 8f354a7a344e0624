package backendtest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var (
	policy = token.Policy{
		Prefixes: token.Prefixes{token.DefaultPrefix},
		Accounts: []string{"default"},
		Catalog:  token.Catalog{Presets: map[string]token.Grants{"full": {"*"}}},
	}
	actor = tokenstore.Actor{Name: "caddy-admin"}
)

// store opens a Store with a stopped clock. Closing the Store closes the backend.
func (s *suite) store() *tokenstore.Store {
	s.Helper()
	store, err := tokenstore.Open(s.Backend,
		tokenstore.Options{Clock: tokenstore.ClockFunc(func() time.Time { return now }), FlushInterval: -1})
	s.check(err)
	s.Cleanup(func() { s.check(store.Close()) })
	return store
}

func draft(t testing.TB) token.Draft {
	t.Helper()
	month, err := token.ParseLifetime("1mo")
	if err != nil {
		t.Fatal(err)
	}
	return token.Draft{
		Kind: token.KindAPI, Name: "test", Preset: "full", Expiry: token.Expiry{ExpiresIn: month},
		Quota: &token.Quota{Requests: 100, Period: token.PeriodMonth},
	}
}

// created identifies a token and holds its credential.
type created struct {
	id         token.ID
	credential token.Credential
}

func (s *suite) create(store *tokenstore.Store) created {
	s.Helper()
	token, secret, err := store.Create(policy, draft(s), actor)
	s.check(err)
	credential, err := policy.Prefixes.Parse(secret.Reveal())
	s.check(err)
	return created{token.ID, credential}
}

// use counts an allowed and a denied request.
func (s *suite) use(store *tokenstore.Store, token created) {
	s.Helper()
	match, err := store.Authenticate(token.credential, now)
	s.check(err)
	if _, standing, err := store.TakeQuota(match, now); err != nil || standing.Exceeded {
		s.Fatalf("taking from the quota: got %+v, %v", standing, err)
	}
	store.CountAllowed(match, "a:b", tokenstore.LastUse{Time: now, IP: "::1", UserAgent: "curl", Route: "GET /x"})
	store.CountDenied(match, tokenstore.Refusal{Time: now, Method: "GET", Path: "/x", Scope: "a:b",
		Code: "insufficient_scope"})
}

// used verifies a token's totals, history and quota.
func (s *suite) used(when string, store *tokenstore.Store, token created, want uint64) {
	s.Helper()
	match, err := store.Authenticate(token.credential, now)
	s.check(err)
	got, err := store.Get(token.id)
	s.check(err)
	if got.Usage.Allowed != want || got.Usage.Denied != want || want > 0 && !got.Usage.Last.Time.Equal(now) {
		s.Errorf("%s: got usage %+v, want %d allowed and denied", when, got.Usage, want)
	}
	points, err := store.Series(token.id, tokenstore.StepDay, now.AddDate(0, -1, 0), now.AddDate(0, 0, 1))
	s.check(err)
	var allowed uint64
	for _, point := range points {
		if point.Outcome == tokenstore.OutcomeOK {
			allowed += point.Count
		}
	}
	if allowed != want {
		s.Errorf("%s: the series has %d allowed requests, want %d", when, allowed, want)
	}
	if standing, err := store.QuotaStanding(match.Token, now); err != nil || standing.Remaining != int64(100-want) {
		s.Errorf("%s: got quota standing %+v, %v, want %d remaining", when, standing, err, 100-want)
	}
}

// testStore verifies that a Store backed by this backend keeps its guarantees across
// processes.
func testStore(s *suite) {
	store := s.store()
	tok, revoked, deleted := s.create(store), s.create(store), s.create(store)
	request := tokenstore.Request{Key: "key", Body: []byte("body")}
	asked, _, _, err := store.CreateOnce(policy, draft(s), actor, request)
	s.check(err)
	s.use(store, tok)
	s.use(store, deleted)
	match, err := store.Authenticate(deleted.credential, now)
	s.check(err)
	_, err = store.Revoke(revoked.id, token.AnyVersion, actor)
	s.check(err)
	s.check(store.Delete(deleted.id, token.AnyVersion, actor))
	store.CountAllowed(match, "a:b", tokenstore.LastUse{Time: now}) // a request in progress
	s.used("before", store, tok, 1)
	s.check(store.Close())

	s.Backend = s.kind.Open(s, s.dir)
	store = s.store()
	s.used("after", store, tok, 1)
	if match, err := store.Authenticate(revoked.credential, now); err != nil || match.Status != token.StatusRevoked {
		s.Errorf("revoked token: got status %v, %v", match.Status, err)
	}
	if _, err := store.Authenticate(deleted.credential, now); !errors.Is(err, tokenstore.ErrNotFound) {
		s.Errorf("deleted token: got error %v, want ErrNotFound", err)
	}
	if again, _, repeated, err := store.CreateOnce(policy, draft(s), actor, request); err != nil || !repeated ||
		again.ID != asked.ID {
		s.Errorf("repeating the create request: got token %v, repeated %v, %v", again, repeated, err)
	}
	if entries, _, err := store.Audit(tokenstore.AuditPage{Limit: 100}); err != nil || len(entries) != 6 {
		s.Errorf("got %d audit entries, %v, want 6", len(entries), err)
	}
	s.check(store.Close())
}

// testKill verifies that after a kill, every flushed request counts once. If the backend has a
// journal, every unflushed request also counts once. A deleted token's requests don't count.
func testKill(s *suite) {
	if s.kind.Kill == nil {
		s.Skip("this test can't kill the store")
	}
	store := s.store()
	used, deleted := s.create(store), s.create(store)
	s.use(store, deleted)
	match, err := store.Authenticate(deleted.credential, now)
	s.check(err)
	s.check(store.Delete(deleted.id, token.AnyVersion, actor))
	store.CountAllowed(match, "a:b", tokenstore.LastUse{Time: now}) // a request in progress
	want := uint64(0)
	for round := range 4 {
		for i := range 10 {
			s.use(store, used)
			if i == 2*round {
				s.check(store.Flush())
			}
		}
		want += 10
		if s.JournalPath() == "" {
			s.check(store.Flush())
		}
		next := s.killed()
		nextStore := next.store()
		next.used("killed", nextStore, used, want)
		if round%2 == 1 { // replayed counts must not be replayed again
			next = next.killed()
			nextStore = next.store()
			next.used("killed again", nextStore, used, want)
		}
		s, store = next, nextStore
	}
}

const imported = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"

// testEndedSecrets verifies that a deleted imported secret can't be imported again, even
// concurrently with the deletion.
func testEndedSecrets(s *suite) {
	store := s.store()
	importSecret := func() error {
		month := draft(s)
		month.Quota = nil
		_, _, err := store.Import(policy, month, imported, actor)
		return err
	}
	s.check(importSecret())
	id, err := s.IDOf(s.list(tokenstore.OrderCreated, nil, false)[0].Digest)
	s.check(err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if err := importSecret(); !errors.Is(err, tokenstore.ErrTaken) {
					s.Errorf("importing the secret again: got error %v, want ErrTaken", err)
				}
			}
		})
	}
	all.Go(func() {
		if err := store.Delete(id, token.AnyVersion, actor); err != nil {
			s.Error(err)
		}
	})
	all.Wait()
	for _, reopened := range []bool{false, true} {
		if reopened {
			s.check(store.Close())
			s.Backend = s.kind.Open(s, s.dir)
			store = s.store()
		}
		if _, is := errors.AsType[*tokenstore.EndedError](importSecret()); !is {
			s.Errorf("reopened %v: importing the deleted secret didn't return an EndedError", reopened)
		}
	}
}
