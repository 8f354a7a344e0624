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

// events of a store, in words.
type toldEvents struct{ texts []string }

func (e *toldEvents) add(event Event) {
	text := string(event.Kind) + " " + event.Token.Name
	if event.Within > 0 {
		text += fmt.Sprintf(" %dd", event.Within/(24*time.Hour))
	}
	if event.Actor.Name != "" {
		text += " by " + event.Actor.Name
	}
	e.texts = append(e.texts, text)
}

// take returns what was told since the last time.
func (e *toldEvents) take() []string {
	texts := e.texts
	e.texts = nil
	return texts
}

// listen makes a store tell.
func listen(s *testStore) *toldEvents {
	told := new(toldEvents)
	s.tell = told.add
	return told
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

// TestChangeEvents: each change tells once, and only if there is one.
func TestChangeEvents(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	told := listen(s)
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
		{func() error { _, err := s.Revoke(tok.ID, 77, testActor); return ignore(err) }, ""},
		{func() error { _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); return err },
			"revoked new by caddy-admin"},
		{func() error { _, err := s.Enable(tok.ID, token.AnyVersion, testActor); return ignore(err) }, ""},
		{func() error { return s.Delete(tok.ID, token.AnyVersion, testActor) }, "deleted new by caddy-admin"},
		{func() error { return ignore(s.Delete(tok.ID, token.AnyVersion, testActor)) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(told.take(), ", "); got != step.want {
			t.Errorf("told %q, want %q", got, step.want)
		}
	}
	s.memory.applyError, s.memory.applyLoses = errors.New("full"), true
	if _, _, err := s.Create(testPolicy, validDraft(), testActor); err == nil || len(told.take()) > 0 {
		t.Errorf("a change that failed is told of: %v", err)
	}
}

// ignore makes an error that has to be there nil.
func ignore(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return nil
}

// TestUsedAfterRevoke is told once an hour of each token.
func TestUsedAfterRevoke(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	told := listen(s)
	one, first := s.create(t, named("one", "2y"))
	two, second := s.create(t, named("two", "2y"))
	use := func(c token.Credential) {
		m := s.must(t, c)
		s.CountDenied(m, s.Now(), "", "revoked_token")
	}
	use(first) // refused for another reason
	for _, id := range []token.ID{one.ID, two.ID} {
		if _, err := s.Revoke(id, token.AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
	}
	told.take()
	for range 3 {
		use(first)
		use(second)
	}
	if got, want := told.take(),
		[]string{"used_after_revoke one", "used_after_revoke two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	s.clock.set(testTime.Add(time.Hour))
	use(first)
	use(first)
	if got, want := told.take(), []string{"used_after_revoke one"}; !reflect.DeepEqual(got, want) {
		t.Errorf("an hour later told %q, want %q", got, want)
	}
	for range maxUsedAfterRevoke {
		s.usedAfterRevoke.told[token.ID([]byte(fmt.Sprintf("%012d", len(s.usedAfterRevoke.told))))] = true
	}
	use(second)
	if got := told.take(); len(got) > 0 {
		t.Errorf("beyond the bound told %q", got)
	}
}

// TestExpiryEvents: each notice is told once, also after downtime, and then only the
// last that was passed. Notices before the last quarter of a token's life are left out.
func TestExpiryEvents(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	told := listen(s)
	const day = 24 * time.Hour
	at := func(after time.Duration) {
		t.Helper()
		s.clock.set(testTime.Add(after))
		for range 2 {
			if err := s.tellExpiry(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(texts ...string) {
		t.Helper()
		got := told.take()
		slices.Sort(got)
		slices.Sort(texts)
		if !slices.Equal(got, texts) {
			t.Errorf("told %q, want %q", got, texts)
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
	told.take()
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
	// What was passed while nobody looked is told by the next process, once.
	again := reopen(t, s.memory, s.clock)
	again.tell = told.add
	s = again
	at(199*day + time.Hour)
	want("expiring long 1d")
	again = reopen(t, s.memory, s.clock)
	again.tell = told.add
	s = again
	at(199*day + 2*time.Hour)
	want()
	// A store that can't be written reports it nevertheless, and once.
	s.memory.saveError = errors.New("full")
	s.clock.set(testTime.Add(200 * day))
	if err := s.tellExpiry(); err == nil {
		t.Error("no error")
	}
	s.memory.saveError = nil
	at(201 * day)
	want("expired long")
}

// TestExpiryAfterWrongClock: after a clock that wrongly ran ahead notices are told
// again when it is time.
func TestExpiryAfterWrongClock(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	told := listen(s)
	if err := s.tellExpiry(); err != nil {
		t.Fatal(err)
	}
	s.create(t, named("ci", "30d"))
	told.take()
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
		if err := s.tellExpiry(); err != nil {
			t.Fatal(err)
		}
		if got := told.take(); !slices.Equal(got, step.want) {
			t.Errorf("at %s told %q, want %q", step.clock, got, step.want)
		}
	}
}
