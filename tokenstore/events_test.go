package tokenstore

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// eventRecorder records a store's events as strings.
type eventRecorder struct{ texts []string }

func (e *eventRecorder) add(event Event) {
	text := string(event.Kind) + " " + event.Token.Name
	if event.Within > 0 {
		text += fmt.Sprintf(" %dd", event.Within/(24*time.Hour))
	}
	if event.Actor.Name != "" {
		text += " by " + event.Actor.Name
	}
	e.texts = append(e.texts, text)
}

// take returns the events since the last call.
func (e *eventRecorder) take() []string {
	texts := e.texts
	e.texts = nil
	return texts
}

// recordEvents returns a recorder for a store's events.
func recordEvents(s *testStore) *eventRecorder {
	events := new(eventRecorder)
	s.publish = events.add
	return events
}

func named(name string, life string) func(*token.Draft) {
	return func(d *token.Draft) {
		d.Name = name
		lifetime, err := token.ParseLifetime(life)
		if err != nil {
			panic(err)
		}
		d.Expiry = token.Expiry{ExpiresIn: lifetime}
	}
}

// TestChangeEvents verifies that each effective change publishes one event.
func TestChangeEvents(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	events := recordEvents(s)
	tok, _ := s.create(t, named("ci", "90d"))
	name := "new"
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "created ci by caddy-admin"},
		{func() error { _, err := s.Edit(testPolicy, tok.ID, token.Edit{Name: &name}, testActor); return err }, ""},
		{func() error { _, err := s.Disable(tok.ID, token.AnyVersion, testActor); return err },
			"disabled new by caddy-admin"},
		{func() error { _, err := s.Disable(tok.ID, token.AnyVersion, testActor); return err }, ""},
		{func() error { _, err := s.Enable(tok.ID, token.AnyVersion, testActor); return err },
			"enabled new by caddy-admin"},
		{func() error { _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{}, testActor); return err },
			"rotated new by caddy-admin"},
		{func() error { _, err := s.Revoke(tok.ID, 77, testActor); return expectError(err) }, ""},
		{func() error { _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); return err },
			"revoked new by caddy-admin"},
		{func() error { _, err := s.Enable(tok.ID, token.AnyVersion, testActor); return expectError(err) }, ""},
		{func() error { return s.Delete(tok.ID, token.AnyVersion, testActor) }, "deleted new by caddy-admin"},
		{func() error { return expectError(s.Delete(tok.ID, token.AnyVersion, testActor)) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(events.take(), ", "); got != step.want {
			t.Errorf("got events %q, want %q", got, step.want)
		}
	}
	s.memory.applyError, s.memory.applyLoses = errors.New("full"), true
	if _, _, err := s.Create(testPolicy, validDraft(), testActor); err == nil || len(events.take()) > 0 {
		t.Errorf("a change that had to fail succeeded or published an event (error %v)", err)
	}
}

// expectError returns nil if err is not nil, and an error otherwise.
func expectError(err error) error {
	if err == nil {
		return errors.New("got no error, want one")
	}
	return nil
}

// TestUsedAfterRevoke verifies that EventUsedAfterRevoke is published once per hour and token.
func TestUsedAfterRevoke(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	events := recordEvents(s)
	one, first := s.create(t, named("one", "2y"))
	two, second := s.create(t, named("two", "2y"))
	use := func(c token.Credential) {
		m := s.must(t, c)
		s.CountDenied(m, Refusal{Time: s.Now(), Code: "revoked_token"})
	}
	use(first) // refused, but the token isn't revoked yet
	for _, id := range []token.ID{one.ID, two.ID} {
		if _, err := s.Revoke(id, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
	}
	events.take()
	for range 3 {
		use(first)
		use(second)
	}
	if got, want := events.take(),
		[]string{"used_after_revoke one", "used_after_revoke two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got events %q, want %q", got, want)
	}
	s.clock.set(testTime.Add(time.Hour))
	use(first)
	use(first)
	if got, want := events.take(), []string{"used_after_revoke one"}; !reflect.DeepEqual(got, want) {
		t.Errorf("an hour later: got events %q, want %q", got, want)
	}
	for range maxUsedAfterRevoke {
		s.usedAfterRevoke.seen[token.ID([]byte(fmt.Sprintf("%012d", len(s.usedAfterRevoke.seen))))] = true
	}
	use(second)
	if got := events.take(); len(got) > 0 {
		t.Errorf("beyond the limit: got events %q, want none", got)
	}
}

// TestExpiryEvents verifies that each notice is published once, that after downtime only the
// last due notice is published, and that notices before the last quarter of a token's lifetime
// are skipped.
func TestExpiryEvents(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	events := recordEvents(s)
	const day = 24 * time.Hour
	at := func(after time.Duration) {
		t.Helper()
		s.clock.set(testTime.Add(after))
		for range 2 {
			if err := s.publishExpiry(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(texts ...string) {
		t.Helper()
		got := events.take()
		slices.Sort(got)
		slices.Sort(texts)
		if !slices.Equal(got, texts) {
			t.Errorf("got events %q, want %q", got, texts)
		}
	}
	at(0)
	s.create(t, named("long", "200d"))
	s.create(t, named("short", "30d"))
	s.create(t, named("hours", "12h"))
	s.create(t, named("endless", "2y"))
	revoked, _ := s.create(t, named("revoked", "200d"))
	disabled, _ := s.create(t, named("disabled", "200d"))
	for _, f := range []func() (*token.Token, error){
		func() (*token.Token, error) { return s.Revoke(revoked.ID, token.AnyVersion, testActor) },
		func() (*token.Token, error) { return s.Disable(disabled.ID, token.AnyVersion, testActor) },
	} {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
	events.take()
	at(time.Minute)
	want()
	at(12 * time.Hour)
	want("expired hours")
	at(23*day + time.Minute)
	want("expiring short 7d")
	at(30*day - time.Hour)
	want("expiring short 1d")
	at(31 * day)
	want("expired short")
	at(170*day - time.Minute)
	want()
	at(170 * day)
	want("expiring long 30d")
	// The next process publishes, once, a notice that became due during the downtime.
	again := reopen(t, s.memory, s.clock)
	again.publish = events.add
	s = again
	at(199*day + time.Hour)
	want("expiring long 1d")
	again = reopen(t, s.memory, s.clock)
	again.publish = events.add
	s = again
	at(199*day + 2*time.Hour)
	want()
	// The event is published only once even if the store can't be written.
	s.memory.saveError = errors.New("full")
	s.clock.set(testTime.Add(200 * day))
	if err := s.publishExpiry(); err == nil {
		t.Error("publishExpiry succeeded although the store can't be written")
	}
	s.memory.saveError = nil
	at(201 * day)
	want("expired long")
}

// TestExpiryAfterWrongClock verifies that notices published because the clock wrongly ran
// ahead are published again when they are actually due.
func TestExpiryAfterWrongClock(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	events := recordEvents(s)
	if err := s.publishExpiry(); err != nil {
		t.Fatal(err)
	}
	s.create(t, named("ci", "30d"))
	events.take()
	for _, step := range []struct {
		clock  time.Duration
		accept bool
		want   []string
	}{
		{40 * 24 * time.Hour, false, []string{"expired ci"}},
		{time.Hour, true, nil},
		{24 * 24 * time.Hour, false, []string{"expiring ci 7d"}},
	} {
		s.clock.set(testTime.Add(step.clock))
		if step.accept {
			if _, _, err := s.AcceptClock(testActor); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.publishExpiry(); err != nil {
			t.Fatal(err)
		}
		if got := events.take(); !slices.Equal(got, step.want) {
			t.Errorf("at %s: got events %q, want %q", step.clock, got, step.want)
		}
	}
}
