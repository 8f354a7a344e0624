package tokenstore

import (
	"errors"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestUnauthorizedActorChangesNothing tries each kind of change with an actor that is no
// longer authorized.
func TestUnauthorizedActorChangesNothing(t *testing.T) {
	t.Parallel()
	errEnded := errors.New("session ended")
	actor := Actor{Name: "carol", Authorize: func() error { return errEnded }}
	for name, change := range map[string]func(s *testStore, id token.ID) error{
		"create": func(s *testStore, _ token.ID) error {
			_, _, err := s.Create(testPolicy, token.Draft{Kind: token.KindAdmin, Name: "successor",
				Expiry: token.Expiry{ExpiresIn: seconds(3600)}}, actor)
			return err
		},
		"import": func(s *testStore, _ token.ID) error {
			draft := token.Draft{Kind: token.KindAPI, Name: "imported", Preset: "read",
				Expiry: token.Expiry{ExpiresIn: seconds(3600)}}
			_, _, err := s.Import(testPolicy, draft, "0f9c8b7a-6d5e-4c3b-a291-807f6e5d4c3b", actor)
			return err
		},
		"edit": func(s *testStore, id token.ID) error {
			_, err := s.Edit(testPolicy, id, token.Edit{Name: new("another")}, actor)
			return err
		},
		"rotate": func(s *testStore, id token.ID) error {
			_, _, err := s.Rotate(testPolicy, id, token.Rotation{}, actor)
			return err
		},
		"revoke": func(s *testStore, id token.ID) error {
			_, err := s.Revoke(id, token.AnyVersion, actor)
			return err
		},
		"disable": func(s *testStore, id token.ID) error {
			_, err := s.Disable(id, token.AnyVersion, actor)
			return err
		},
		"enable": func(s *testStore, id token.ID) error { _, err := s.Enable(id, token.AnyVersion, actor); return err },
		"delete": func(s *testStore, id token.ID) error { return s.Delete(id, token.AnyVersion, actor) },
		"accept clock": func(s *testStore, _ token.ID) error {
			s.Now() // records the later time
			s.clock.set(s.clock.Now().Add(-time.Hour))
			_, _, err := s.AcceptClock(actor)
			return err
		},
	} {
		s := openTestStore(t)
		tok, credential := s.create(t)
		before := s.Now()
		if err := change(s, tok.ID); !errors.Is(err, ErrUnauthorized) || !errors.Is(err, errEnded) ||
			errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got error %v, want ErrUnauthorized", name, err)
		}
		page, _, err := s.List(Page{Order: OrderCreated, Limit: 10})
		if err != nil || len(page) != 1 || page[0].Token.Version != tok.Version ||
			page[0].Token.Status(before) != token.StatusActive {
			t.Errorf("%s: the stored token changed: %v", name, err)
		}
		if match := s.must(t, credential); match.Status != token.StatusActive {
			t.Errorf("%s: the token in memory is no longer active", name)
		}
		if s.Now().Before(before) {
			t.Errorf("%s: the store accepted the earlier clock", name)
		}
		if entries, _, err := s.Audit(AuditPage{Limit: 10}); err != nil || len(entries) != 1 {
			t.Errorf("%s: got %d audit entries, %v, want 1", name, len(entries), err)
		}
	}
}

// TestRefresh verifies the result of Refresh after each of several changes to a matched token.
func TestRefresh(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	match := s.must(t, credential)
	want := func(what string, status token.Status) {
		t.Helper()
		if fresh, ok := s.Refresh(match, s.Now()); !ok || fresh.Status != status {
			t.Errorf("%s: Refresh returned %v with status %v, want status %v", what, ok, fresh.Status, status)
		}
	}
	want("unchanged", token.StatusActive)
	if _, err := s.Disable(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	want("disabled", token.StatusDisabled)
	if _, err := s.Enable(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	want("enabled", token.StatusActive)
	if _, err := s.Edit(testPolicy, tok.ID, token.Edit{AllowedIPs: &[]string{"10.0.0.0/8"}}, testActor); err != nil {
		t.Fatal(err)
	}
	if fresh, ok := s.Refresh(match, s.Now()); !ok || len(fresh.Token.AllowedIPs) != 1 {
		t.Errorf("after restricting addresses: Refresh returned %v with addresses %v", ok, fresh.Token.AllowedIPs)
	}
	if _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor); err != nil {
		t.Fatal(err)
	}
	want("rotated with grace", token.StatusActive)
	if _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{}, testActor); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Refresh(match, s.Now()); ok {
		t.Error("Refresh still matched the old secret after a rotation")
	}
}
