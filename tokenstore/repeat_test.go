package tokenstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestRepeatedCreate verifies that a request creates one token within a day, however often it
// is repeated, even concurrently.
func TestRepeatedCreate(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "read",
		Expiry: token.Expiry{ExpiresIn: seconds(3600)}}
	request := Request{Key: "key", Body: []byte("body")}
	type result struct {
		token    *token.Token
		secret   token.Secret
		repeated bool
	}
	results := make(chan result, 32)
	var wait sync.WaitGroup
	for range cap(results) {
		wait.Go(func() {
			token, secret, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request)
			if err != nil {
				t.Error(err)
				return
			}
			results <- result{token, secret, repeated}
		})
	}
	wait.Wait()
	close(results)
	ids := make(map[token.ID]bool)
	made := 0
	for r := range results {
		ids[r.token.ID] = true
		if r.repeated != (r.secret.Reveal() == "") {
			t.Error("a repeat returned a secret, or the first request didn't")
		}
		if !r.repeated {
			made++
		}
	}
	if len(ids) != 1 || made != 1 || len(s.memory.tokens) != 1 {
		t.Errorf("%d tokens stored, %d created", len(s.memory.tokens), made)
	}

	other := request
	other.Body = []byte("another")
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, other); !errors.Is(err, ErrRepeatDiffers) {
		t.Errorf("another body: %v", err)
	}
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, Actor{Name: "another"}, other); err != nil || repeated {
		t.Errorf("another actor: %v, %v", repeated, err)
	}
	// A repeat is recognized even if its draft is no longer valid.
	late := draft
	late.Expiry = token.Expiry{ExpiresAt: testTime.Add(time.Hour)}
	late.Name = "late"
	lateRequest := Request{Key: "late", Body: []byte("late")}
	if _, _, repeated, err := s.CreateOnce(testPolicy, late, testActor, lateRequest); err != nil || repeated {
		t.Fatal(repeated, err)
	}
	s.clock.pass(2 * time.Hour)
	if token, secret, repeated, err := s.CreateOnce(testPolicy, late, testActor, lateRequest); err != nil ||
		!repeated || token.Name != "late" || secret.Reveal() != "" {
		t.Errorf("after the token's expiry: %v, %v, %v", token, repeated, err)
	}
	for id := range ids {
		if err := s.Delete(id, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, request); !errors.Is(err, token.ErrConflict) {
		t.Errorf("deleted since: %v", err)
	}
	s.clock.pass(RequestRetention - 2*time.Hour)
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil || repeated {
		t.Errorf("a day later: %v, %v", repeated, err)
	}
}
