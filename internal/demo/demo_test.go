package demo

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

func open(t *testing.T, path string) *bolt.Backend {
	t.Helper()
	backend, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

// TestFill verifies that the history contains what the dashboard shows.
func TestFill(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "tokens.db"), time.Date(2026, 3, 4, 15, 30, 0, 0, time.UTC)
	keys, err := Fill(open(t, path), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	if keys[0].Token.Kind != token.KindAdmin || keys[1].Token.Kind != token.KindAPI {
		t.Errorf("the first keys are %s and %s", keys[0].Token.Name, keys[1].Token.Name)
	}
	store, err := tokenstore.Open(open(t, path), tokenstore.Options{
		Clock: tokenstore.ClockFunc(func() time.Time { return now }), FlushInterval: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	statuses, oldSecret, recent := make(map[token.Status]int), 0, 0
	for _, key := range keys {
		found, err := store.Get(key.Token.ID)
		if err != nil {
			t.Fatalf("%s: %v", key.Token.Name, err)
		}
		statuses[found.Token.Status(now)]++
		if found.Usage.Previous.Time.After(found.Token.SecretMadeAt) && found.Token.PreviousValidUntil.After(now) {
			oldSecret++
		}
		if last := found.Usage.Last.Time; last.After(now) {
			t.Errorf("%s was last used in the future, at %s", key.Token.Name, last)
		} else if last.After(now.Add(-time.Hour)) {
			recent++
		}
	}
	if statuses[token.StatusActive] < 25 || statuses[token.StatusRevoked] != 1 || statuses[token.StatusDisabled] != 1 ||
		statuses[token.StatusExpired] != 1 || oldSecret != 1 || recent < 5 {
		t.Errorf("got statuses %v, %d old secrets in use and %d tokens used recently", statuses, oldSecret, recent)
	}
	if points, err := store.Totals(tokenstore.StepDay, now.Add(-90*day), now); err != nil || len(points) < 180 {
		t.Errorf("got %d daily totals, err %v", len(points), err)
	}
}
