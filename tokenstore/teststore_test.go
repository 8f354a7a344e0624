package tokenstore

import (
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

var testTime = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

var testPolicy = token.Policy{
	Prefixes:    token.Prefixes{token.DefaultPrefix},
	MaxLifetime: months(24),
	Accounts:    []string{"alice", "default"},
	Catalog: token.Catalog{
		Scopes: []token.CatalogScope{
			{Scope: token.Scope{Name: "block:list"}}, {Scope: token.Scope{Name: "monitoring:update", Explicit: true}},
			{Scope: token.Scope{Name: "unikernel:create"}}, {Scope: token.Scope{Name: "unikernel:list"}},
		},
		Presets: map[string]token.Grants{"read": {"unikernel:list", "block:list"}, "full": {"*"}},
	},
}

var testActor = Actor{Name: "caddy-admin", Address: "127.0.0.1"}

// testStore is a store with an in-memory backend and a clock controlled by the test.
type testStore struct {
	*Store
	memory *memory
	clock  *testClock
}

func openTestStore(t testing.TB) *testStore {
	t.Helper()
	return reopen(t, newMemory(), newTestClock(testTime))
}

func reopen(t testing.TB, backend *memory, clock *testClock) *testStore {
	t.Helper()
	backend.reopen()
	store, err := Open(backend,
		Options{Clock: clock, Elapsed: func() time.Duration { return time.Duration(clock.elapsed.Load()) },
			FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &testStore{store, backend, clock}
}

// create creates a token with a lifetime of one day.
func (s *testStore) create(t testing.TB, edit ...func(*token.Draft)) (*token.Token, token.Credential) {
	t.Helper()
	draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "read",
		Expiry: token.Expiry{ExpiresIn: seconds(24 * 60 * 60)}}
	for _, f := range edit {
		f(&draft)
	}
	token, secret, err := s.Create(testPolicy, draft, testActor)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatalf("parsing the new secret: %v", err)
	}
	return token, credential
}

// alter edits a stored token without applying a policy.
func (s *testStore) alter(t testing.TB, id token.ID, edit func(*token.Token)) {
	t.Helper()
	if err := s.tryAlter(id, edit); err != nil {
		t.Fatal(err)
	}
}

func (s *testStore) tryAlter(id token.ID, edit func(*token.Token)) error {
	now := s.Now()
	_, err := s.apply(id, now, Actor{}, func(old *token.Token) (Change, error) {
		if old == nil {
			return Change{}, ErrNotFound
		}
		token := *old
		token.Version++
		edit(&token)
		return Change{Token: &token, Audit: testActor.audit(now, "edit", &token, nil)}, nil
	})
	return err
}

// must returns the result of Authenticate and fails the test if there is an error.
func (s *testStore) must(t testing.TB, c token.Credential) Match {
	t.Helper()
	match, err := s.Authenticate(c, s.Now())
	if err != nil {
		t.Fatalf("Authenticate: %v", err)
	}
	return match
}

// unknown returns a well-formed credential that differs from secret starting at character i.
func unknown(t testing.TB, secret string, i int) token.Credential {
	t.Helper()
	text := []byte(secret[:checkOffset])
	for ; i < len(text); i++ {
		if text[i] != '_' {
			text[i] = digits62[(int(text[i])*7+i)%len(digits62)]
		}
	}
	credential, err := testPolicy.Prefixes.Parse(string(text) + checksumOf(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

// flushing calls flush repeatedly until stop is called.
func flushing(t *testing.T, flush func() error) (stop func()) {
	done := make(chan struct{})
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for {
			if err := flush(); err != nil {
				t.Errorf("flushing: %v", err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return func() {
		close(done)
		flusher.Wait()
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
