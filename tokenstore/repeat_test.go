package tokenstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestRepeatedCreate verifies that a request creates only one token within a day, no matter
// how often it is repeated, even concurrently.
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
		t.Errorf("%d tokens were stored and %d created, want 1", len(s.memory.tokens), made)
	}

	other := request
	other.Body = []byte("another")
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, other); !errors.Is(err, ErrRepeatDiffers) {
		t.Errorf("same key with another body: got error %v, want ErrRepeatDiffers", err)
	}
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, Actor{Name: "another"}, other); err != nil || repeated {
		t.Errorf("same key from another actor: got repeated %v, %v, want false", repeated, err)
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
		t.Errorf("repeat after the token's expiry: got %v, repeated %v, %v", token, repeated, err)
	}
	for id := range ids {
		if err := s.Delete(id, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, request); !errors.Is(err, token.ErrConflict) {
		t.Errorf("repeat after deleting the token: got error %v, want ErrConflict", err)
	}
	s.clock.pass(RequestRetention - 2*time.Hour)
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil || repeated {
		t.Errorf("a day later: got repeated %v, %v, want false", repeated, err)
	}
}
