package tokenstore

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// present returns what Authenticate says of a secret: a state, or that it is
// unknown.
func (s *testStore) present(t testing.TB, c Credential) string {
	t.Helper()
	match, err := s.Authenticate(c, s.Now())
	switch {
	case errors.Is(err, ErrNotFound):
		return "unknown"
	case err != nil:
		t.Fatal(err)
	case match.Previous:
		return "previous " + match.Status.String()
	}
	return match.Status.String()
}

func parsed(t testing.TB, secret Secret) Credential {
	t.Helper()
	c, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *testStore) lastAudit(t testing.TB) AuditEntry {
	t.Helper()
	entries, _, err := s.Audit(AuditPage{Limit: 1})
	if err != nil || len(entries) == 0 {
		t.Fatalf("%v, %v", entries, err)
	}
	return entries[0]
}

// TestRotate: both secrets work until the grace is over, then the new one only.
func TestRotate(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"in memory": true, "in the backend only": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			token, old := s.create(t)
			if used {
				s.must(t, old)
			}
			s.clock.set(testTime.Add(time.Hour))
			rotated, secret, err := s.Rotate(testPolicy, token.ID, Rotation{Grace: time.Hour}, testActor)
			if err != nil {
				t.Fatal(err)
			}
			current := parsed(t, secret)
			ends := testTime.Add(2 * time.Hour).Truncate(time.Second)
			if rotated.ID != token.ID || !rotated.PreviousValidUntil.Equal(ends) || !rotated.ExpiresAt.Equal(token.ExpiresAt) || rotated.Version != 2 {
				t.Errorf("rotated: %+v", rotated)
			}
			for _, at := range []struct {
				time     time.Time
				old, new string
			}{
				{testTime.Add(time.Hour), "previous active", "active"},
				{ends.Add(-1), "previous active", "active"},
				{ends, "previous revoked", "active"},
				{token.ExpiresAt, "previous revoked", "expired"},
			} {
				s.clock.set(at.time)
				if old, current := s.present(t, old), s.present(t, current); old != at.old || current != at.new {
					t.Errorf("at %s: old %q, new %q", at.time, old, current)
				}
			}
			if entry := s.lastAudit(t); entry.Action != "rotate" || !reflect.DeepEqual(entry.Changes, map[string]string{"grace": "3600s"}) {
				t.Errorf("audit: %+v", entry)
			}
		})
	}
}

func TestRotateExpiries(t *testing.T) {
	t.Parallel()
	made := testTime.Truncate(time.Second)
	hour := Lifetime{seconds: 3600}
	for name, test := range map[string]struct {
		rotation          Rotation
		expires, previous time.Time
	}{
		"at once":                 {Rotation{}, made.Add(24 * time.Hour), time.Time{}},
		"grace":                   {Rotation{Grace: time.Minute}, made.Add(24 * time.Hour), made.Add(time.Minute)},
		"grace beyond the end":    {Rotation{Grace: 48 * time.Hour}, made.Add(24 * time.Hour), made.Add(24 * time.Hour)},
		"longer":                  {Rotation{Grace: 48 * time.Hour, Expiry: Expiry{ExpiresIn: Lifetime{months: 1}}}, made.AddDate(0, 1, 0), made.Add(24 * time.Hour)},
		"shorter":                 {Rotation{Grace: 2 * time.Hour, Expiry: Expiry{ExpiresIn: hour}}, made.Add(time.Hour), made.Add(time.Hour)},
		"as long as it may be":    {Rotation{Expiry: Expiry{ExpiresIn: Lifetime{months: 24}}}, made.AddDate(2, 0, 0), time.Time{}},
		"a grace of half a tick":  {Rotation{Grace: time.Second / 2}, made.Add(24 * time.Hour), time.Time{}},
		"to a moment of the year": {Rotation{Expiry: Expiry{ExpiresAt: made.AddDate(1, 0, 0)}}, made.AddDate(1, 0, 0), time.Time{}},
	} {
		s := openTestStore(t)
		token, old := s.create(t)
		rotated, _, err := s.Rotate(testPolicy, token.ID, test.rotation, testActor)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !rotated.ExpiresAt.Equal(test.expires) || !rotated.PreviousValidUntil.Equal(test.previous) || !rotated.SecretMadeAt.Equal(made) {
			t.Errorf("%s: %+v", name, rotated)
		}
		if got := s.present(t, old); (got == "previous active") != !test.previous.IsZero() {
			t.Errorf("%s: the old secret is %s", name, got)
		}
	}
}

// TestRotateTwice: the secret before the last one stops at once.
func TestRotateTwice(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, first := s.create(t)
	rotate := func() Credential {
		_, secret, err := s.Rotate(testPolicy, token.ID, Rotation{Grace: time.Hour}, testActor)
		if err != nil {
			t.Fatal(err)
		}
		return parsed(t, secret)
	}
	second := rotate()
	third := rotate()
	if a, b, c := s.present(t, first), s.present(t, second), s.present(t, third); a != "unknown" || b != "previous active" || c != "active" {
		t.Errorf("%s, %s, %s", a, b, c)
	}
}

func TestRotateRefusals(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, old := s.create(t)
	for name, test := range map[string]struct {
		rotation Rotation
		field    string
	}{
		"too long":      {Rotation{Expiry: Expiry{ExpiresIn: Lifetime{months: 25}}}, "expires_in"},
		"over":          {Rotation{Expiry: Expiry{ExpiresAt: testTime.Add(-time.Hour)}}, "expires_at"},
		"never":         {Rotation{Expiry: Expiry{NeverExpires: true}}, "expires_in"},
		"two of them":   {Rotation{Expiry: Expiry{NeverExpires: true, ExpiresIn: Lifetime{months: 1}}}, "expires_at"},
		"other version": {Rotation{Version: 7}, ""},
	} {
		_, secret, err := s.Rotate(testPolicy, token.ID, test.rotation, testActor)
		field, _ := errors.AsType[*FieldError](err)
		version, _ := errors.AsType[*VersionError](err)
		if err == nil || secret.Reveal() != "" || (test.field != "" && (field == nil || field.Field != test.field)) || (test.field == "" && (version == nil || version.Version != 1)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.present(t, old); got != "active" {
		t.Errorf("a refused rotation left the secret %s", got)
	}
	s.clock.set(token.ExpiresAt)
	if _, _, err := s.Rotate(testPolicy, token.ID, Rotation{Expiry: Expiry{ExpiresIn: Lifetime{months: 1}}}, testActor); !errors.Is(err, ErrConflict) {
		t.Errorf("an expired token: %v", err)
	}
	revoked, _ := s.create(t)
	if _, err := s.Revoke(revoked.ID, AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rotate(testPolicy, revoked.ID, Rotation{}, testActor); !errors.Is(err, ErrConflict) {
		t.Errorf("a revoked token: %v", err)
	}
	if _, _, err := s.Rotate(testPolicy, ID{}, Rotation{}, testActor); !errors.Is(err, ErrNotFound) {
		t.Errorf("no token: %v", err)
	}
}

// TestStateChanges: what each change makes of each state, what is written, and that the
// change is in force when the call returns.
func TestStateChanges(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*testStore, ID) (*Token, error){
		"revoke":  func(s *testStore, id ID) (*Token, error) { return s.Revoke(id, AnyVersion, testActor) },
		"disable": func(s *testStore, id ID) (*Token, error) { return s.Disable(id, AnyVersion, testActor) },
		"enable":  func(s *testStore, id ID) (*Token, error) { return s.Enable(id, AnyVersion, testActor) },
	}
	for _, test := range []struct {
		before, change, after string
		changed               bool
	}{
		{"", "revoke", "revoked", true},
		{"", "disable", "disabled", true},
		{"", "enable", "active", false},
		{"revoke", "revoke", "revoked", false},
		{"revoke", "disable", "revoked", false},
		{"revoke", "enable", "conflict", false},
		{"disable", "revoke", "revoked", true},
		{"disable", "disable", "disabled", false},
		{"disable", "enable", "active", true},
	} {
		s := openTestStore(t)
		token, credential := s.create(t)
		s.must(t, credential)
		if test.before != "" {
			if _, err := changes[test.before](s, token.ID); err != nil {
				t.Fatal(err)
			}
		}
		before := len(s.memory.audit)
		found, err := changes[test.change](s, token.ID)
		if test.after == "conflict" {
			if !errors.Is(err, ErrConflict) {
				t.Errorf("%s, then %s: %v", test.before, test.change, err)
			}
			continue
		}
		if err != nil || found.Status(s.Now()).String() != test.after || s.present(t, credential) != test.after {
			t.Errorf("%s, then %s: %v, %v", test.before, test.change, found, err)
		}
		if wrote := len(s.memory.audit) > before; wrote != test.changed {
			t.Errorf("%s, then %s: written %v", test.before, test.change, wrote)
		}
	}
	for name, change := range changes {
		if _, err := change(openTestStore(t), ID{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVersions: of changes that were made for the same version one is carried out.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, _ := s.create(t)
	var wait sync.WaitGroup
	results := make(chan error, 16)
	for i := range cap(results) {
		wait.Go(func() {
			name := fmt.Sprint("name ", i)
			_, err := s.Edit(testPolicy, token.ID, Edit{Name: &name, Version: 1}, testActor)
			results <- err
		})
	}
	wait.Wait()
	close(results)
	done := 0
	for err := range results {
		version, outdated := errors.AsType[*VersionError](err)
		switch {
		case err == nil:
			done++
		case !outdated || version.Version != 2:
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d were carried out", done)
	}
	if err := s.Delete(token.ID, 1, testActor); err == nil {
		t.Error("deleted in a version that it no longer has")
	}
	if err := s.Delete(token.ID, 2, testActor); err != nil {
		t.Error(err)
	}
}

// TestLookup finds tokens in all states and counts nothing.
func TestLookup(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, old := s.create(t)
	_, secret, err := s.Rotate(testPolicy, token.ID, Rotation{Grace: time.Hour}, testActor)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Revoke(token.ID, AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	for c, wantPrevious := range map[Credential]bool{old: true, parsed(t, secret): false} {
		found, previous, err := s.Lookup(c)
		if err != nil || found.Token.ID != token.ID || previous != wantPrevious || found.Usage != (Usage{}) {
			t.Errorf("%+v, %v, %v", found, previous, err)
		}
	}
	if _, _, err := s.Lookup(unknown(t, secret.Reveal(), secretStart)); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

// TestRepeatedCreate: one request makes one token, however often and at once it is
// asked for, for a day.
func TestRepeatedCreate(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	draft := Draft{Kind: KindAPI, Name: "test", Preset: "read", Expiry: Expiry{ExpiresIn: Lifetime{seconds: 3600}}}
	request := Request{Key: "key", Body: []byte("body")}
	type result struct {
		token    *Token
		secret   Secret
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
	ids := make(map[ID]bool)
	made := 0
	for r := range results {
		ids[r.token.ID] = true
		if r.repeated != (r.secret.Reveal() == "") {
			t.Error("a repeat shows a secret, or the first doesn't")
		}
		if !r.repeated {
			made++
		}
	}
	if len(ids) != 1 || made != 1 || len(s.memory.tokens) != 1 {
		t.Errorf("%d tokens, %d made", len(s.memory.tokens), made)
	}

	other := request
	other.Body = []byte("another")
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, other); !errors.Is(err, ErrRepeatDiffers) {
		t.Errorf("another body: %v", err)
	}
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, Actor{Name: "another"}, other); err != nil || repeated {
		t.Errorf("another actor: %v, %v", repeated, err)
	}
	// It is known by itself, also when what it asks for is no longer possible.
	late := draft
	late.Expiry = Expiry{ExpiresAt: testTime.Add(time.Hour)}
	late.Name = "late"
	lateRequest := Request{Key: "late", Body: []byte("late")}
	if _, _, repeated, err := s.CreateOnce(testPolicy, late, testActor, lateRequest); err != nil || repeated {
		t.Fatal(repeated, err)
	}
	s.clock.set(testTime.Add(2 * time.Hour))
	if token, secret, repeated, err := s.CreateOnce(testPolicy, late, testActor, lateRequest); err != nil || !repeated || token.Name != "late" || secret.Reveal() != "" {
		t.Errorf("after its end: %v, %v, %v", token, repeated, err)
	}
	for id := range ids {
		if err := s.Delete(id, AnyVersion, testActor); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := s.CreateOnce(testPolicy, draft, testActor, request); !errors.Is(err, ErrConflict) {
		t.Errorf("deleted since: %v", err)
	}
	s.clock.set(testTime.Add(RequestRetention))
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil || repeated {
		t.Errorf("a day later: %v, %v", repeated, err)
	}
}

// TestImport: the clients' old tokens work on, flagged, no longer than max_lifetime
// allows. Only UUIDs of 122 random bits are taken, which need no slow hash (TIM-04).
func TestImport(t *testing.T) {
	t.Parallel()
	const text = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"
	made := testTime.Truncate(time.Second)
	draft := func(e Expiry) Draft { return Draft{Kind: KindAPI, Name: "old", Preset: "full", Expiry: e} }
	for name, test := range map[string]struct {
		expiry Expiry
		want   time.Time
		capped bool
	}{
		"its own end": {Expiry{ExpiresAt: made.AddDate(0, 1, 0)}, made.AddDate(0, 1, 0), false},
		"too late":    {Expiry{ExpiresAt: made.AddDate(9, 0, 0)}, made.AddDate(2, 0, 0), true},
		"too long":    {Expiry{ExpiresIn: Lifetime{months: 100}}, made.AddDate(2, 0, 0), true},
		"never":       {Expiry{NeverExpires: true}, made.AddDate(2, 0, 0), true},
	} {
		s := openTestStore(t)
		token, capped, err := s.Import(testPolicy, draft(test.expiry), text, testActor)
		if err != nil || capped != test.capped || !token.ExpiresAt.Equal(test.want) || token.Format != FormatImported || token.Hint() != "" {
			t.Errorf("%s: %+v, %v, %v", name, token, capped, err)
			continue
		}
		c, err := testPolicy.Prefixes.Parse(text)
		if err != nil || s.present(t, c) != "active" {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := s.Import(testPolicy, draft(test.expiry), text, testActor); !errors.Is(err, ErrTaken) {
			t.Errorf("%s, again: %v", name, err)
		}
		// Its next secret is one of ours; the old one works through the grace.
		_, secret, err := s.Rotate(testPolicy, token.ID, Rotation{Grace: time.Hour}, testActor)
		if err != nil || !strings.HasPrefix(secret.Reveal(), "mmk_"+token.ID.String()) || s.present(t, c) != "previous active" || s.present(t, parsed(t, secret)) != "active" {
			t.Errorf("%s, rotated: %v, %v", name, secret, err)
		}
	}
	s := openTestStore(t)
	for _, bad := range []string{"", "x", strings.ToUpper(text), strings.Replace(text, "-4", "-1", 1)} {
		if _, _, err := s.Import(testPolicy, draft(Expiry{NeverExpires: true}), bad, testActor); err == nil || strings.Contains(err.Error(), "0b5e") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, _, err := s.Import(testPolicy, draft(Expiry{ExpiresAt: made}), text, testActor); err == nil {
		t.Error("an expired token was taken over")
	}
}

// TestAuditPages: every change leaves its line, and pages show each line once while
// more are written.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, _ := s.create(t)
	for i := range 9 {
		name := fmt.Sprint("name ", i)
		if _, err := s.Edit(testPolicy, token.ID, Edit{Name: &name}, testActor); err != nil {
			t.Fatal(err)
		}
	}
	var actions []string
	page := AuditPage{Limit: 4, Match: func(e AuditEntry) bool { return e.TokenID == token.ID }}
	for {
		entries, next, err := s.Audit(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			actions = append(actions, e.Action+" "+e.Changes["name"])
			if e.Actor != testActor.Name || e.Address != testActor.Address {
				t.Errorf("%+v", e)
			}
		}
		s.create(t) // of another token, and newer
		if page.Before = next; next == nil {
			break
		}
	}
	want := []string{"edit name 7 -> name 8", "edit name 6 -> name 7"}
	if len(actions) != 10 || !slices.Equal(actions[:2], want) || actions[8] != "edit test -> name 0" || actions[9] != "create " {
		t.Errorf("%q", actions)
	}
}

// TestAcceptClock: a clock that ran ahead is taken for wrong only when somebody
// says so.
func TestAcceptClock(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	_, credential := s.create(t)
	s.clock.set(testTime.AddDate(1, 0, 0))
	s.create(t)
	s.clock.set(testTime.Add(time.Hour))
	if got := s.present(t, credential); got != "expired" {
		t.Fatalf("%s before", got)
	}
	from, to, err := s.AcceptClock(testActor)
	if err != nil || !from.Equal(testTime.AddDate(1, 0, 0)) || !to.Equal(testTime.Add(time.Hour)) {
		t.Errorf("%s, %s, %v", from, to, err)
	}
	if got := s.present(t, credential); got != "active" || !s.Now().Equal(to) || !s.memory.recorded.Equal(to) {
		t.Errorf("%s at %s, recorded %s", got, s.Now(), s.memory.recorded)
	}
	if entry := s.memory.audit[len(s.memory.audit)-1]; entry.Action != "accept clock" || entry.TokenID != (ID{}) {
		t.Errorf("%+v", entry)
	}
	lines := len(s.memory.audit)
	if from, to, err := s.AcceptClock(testActor); err != nil || from.After(to) || len(s.memory.audit) != lines {
		t.Errorf("again: %s, %s, %v", from, to, err)
	}
}

// TestEdit changes each field, and only what it names.
func TestEdit(t *testing.T) {
	t.Parallel()
	made := testTime.Truncate(time.Second)
	draft := Draft{
		Kind: KindAPI, Name: "old", Account: "alice", Scopes: Grants{"unikernel:list"}, AllowedIPs: []string{"10.0.0.0/8"},
		Metadata: map[string]string{"a": "1", "b": "2"}, NotBefore: made.Add(-time.Hour), Expiry: Expiry{ExpiresIn: Lifetime{months: 1}},
	}
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		edit    Edit
		want    func(*Token)
		changes map[string]string
	}{
		"nothing":  {Edit{}, func(*Token) {}, nil},
		"the same": {Edit{Name: text("old"), Metadata: map[string]*string{"a": text("1"), "c": nil}}, func(*Token) {}, nil},
		"name":     {Edit{Name: text("new")}, func(t *Token) { t.Name = "new" }, map[string]string{"name": "old -> new"}},
		"account":  {Edit{Account: text("")}, func(t *Token) { t.Account = "default" }, map[string]string{"account": "alice -> default"}},
		"scopes": {
			Edit{Scopes: Grants{"*"}}, func(t *Token) { t.Scopes = Grants{"*"} },
			map[string]string{"scopes": "unikernel:list -> *"},
		},
		"preset": {
			Edit{Preset: text("read")}, func(t *Token) { t.Scopes = Grants{"block:list", "unikernel:list"} },
			map[string]string{"scopes": "unikernel:list -> block:list unikernel:list"},
		},
		"addresses": {Edit{AllowedIPs: new([]string)}, func(t *Token) { t.AllowedIPs = nil }, map[string]string{"allowed_ips": "10.0.0.0/8 -> none"}},
		"metadata": {
			Edit{Metadata: map[string]*string{"a": nil, "b": text("3"), "c": text("4")}},
			func(t *Token) { t.Metadata = map[string]string{"b": "3", "c": "4"} }, map[string]string{"metadata": "a, b, c"},
		},
		"other metadata": {
			Edit{ClearMetadata: true, Metadata: map[string]*string{"b": text("2")}},
			func(t *Token) { t.Metadata = map[string]string{"b": "2"} }, map[string]string{"metadata": "a"},
		},
		"no metadata": {Edit{ClearMetadata: true}, func(t *Token) { t.Metadata = nil }, map[string]string{"metadata": "a, b"}},
		"not before": {
			Edit{NotBefore: new(time.Time)}, func(t *Token) { t.NotBefore = time.Time{} },
			map[string]string{"not_before": "2027-03-14T14:09:26Z -> none"},
		},
		"longer, from now": {
			Edit{Expiry: &Expiry{ExpiresIn: Lifetime{months: 2}}}, func(t *Token) { t.ExpiresAt = made.Add(time.Hour).AddDate(0, 2, 0) },
			map[string]string{"expires_at": "2027-04-14T15:09:26Z -> 2027-05-14T16:09:26Z"},
		},
	} {
		s := openTestStore(t)
		token, secret, err := s.Create(testPolicy, draft, testActor)
		if err != nil {
			t.Fatal(err)
		}
		want := *token
		want.Metadata = maps.Clone(token.Metadata)
		s.clock.set(testTime.Add(time.Hour))
		s.must(t, parsed(t, secret))
		got, err := s.Edit(testPolicy, token.ID, test.edit, testActor)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		test.want(&want)
		if test.changes != nil {
			want.Version, want.UpdatedAt = 2, made.Add(time.Hour)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, *got, want)
		}
		if inForce := s.must(t, parsed(t, secret)).Token; !reflect.DeepEqual(inForce, got) {
			t.Errorf("%s: in force is %+v", name, inForce)
		}
		if entry := s.lastAudit(t); test.changes != nil && (entry.Action != "edit" || !reflect.DeepEqual(entry.Changes, test.changes)) {
			t.Errorf("%s: audit %+v", name, entry)
		} else if test.changes == nil && entry.Action != "create" {
			t.Errorf("%s: audit %+v", name, entry)
		}
	}
}

func TestEditRefusals(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	later := testTime.AddDate(1, 0, 0)
	for name, test := range map[string]struct {
		edit  Edit
		field string
	}{
		"name":                {Edit{Name: text("")}, "name"},
		"account":             {Edit{Account: text("bob")}, "account"},
		"scopes":              {Edit{Scopes: Grants{}}, "scopes"},
		"unknown scope":       {Edit{Scopes: Grants{"x:y"}}, "scopes"},
		"preset":              {Edit{Preset: text("none")}, "preset"},
		"preset and scopes":   {Edit{Preset: text("read"), Scopes: Grants{"*"}}, "preset"},
		"address":             {Edit{AllowedIPs: &[]string{"x"}}, "allowed_ips"},
		"metadata":            {Edit{Metadata: map[string]*string{"": text("x")}}, "metadata"},
		"begins after it end": {Edit{NotBefore: &later}, "not_before"},
		"ends before it begins": {
			Edit{NotBefore: new(testTime.Add(2 * time.Hour)), Expiry: &Expiry{ExpiresIn: Lifetime{seconds: 3600}}}, "not_before",
		},
		"over":      {Edit{Expiry: &Expiry{ExpiresAt: testTime}}, "expires_at"},
		"never":     {Edit{Expiry: &Expiry{NeverExpires: true}}, "expires_in"},
		"no expiry": {Edit{Expiry: &Expiry{}}, "expires_in"},
		// The longest lifetime counts from the making of the secret, not from now.
		"later than the secret may live": {Edit{Expiry: &Expiry{ExpiresIn: Lifetime{months: 24}}}, "expires_in"},
	} {
		s := openTestStore(t)
		token, _ := s.create(t)
		s.clock.set(testTime.Add(time.Hour))
		_, err := s.Edit(testPolicy, token.ID, test.edit, testActor)
		if broken, ok := errors.AsType[*FieldError](err); !ok || broken.Field != test.field {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(now.Token, token) {
			t.Errorf("%s: it was changed: %+v", name, now.Token)
		}
	}
	s := openTestStore(t)
	token, _ := s.create(t)
	s.clock.set(token.ExpiresAt)
	if _, err := s.Edit(testPolicy, token.ID, Edit{Expiry: &Expiry{ExpiresIn: Lifetime{months: 1}}}, testActor); !errors.Is(err, ErrConflict) {
		t.Errorf("expired: %v", err)
	}
}

// TestEditEndsGrace: an old secret whose token is made to end earlier isn't brought
// back by a later edit.
func TestEditEndsGrace(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, old := s.create(t)
	if _, _, err := s.Rotate(testPolicy, token.ID, Rotation{Grace: 20 * time.Hour}, testActor); err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []int64{3600, 24 * 3600} {
		if _, err := s.Edit(testPolicy, token.ID, Edit{Expiry: &Expiry{ExpiresIn: Lifetime{seconds: seconds}}}, testActor); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.set(testTime.Add(2 * time.Hour))
	if got := s.present(t, old); got != "previous revoked" {
		t.Errorf("the old secret is %s", got)
	}
}

// TestEditSecretsInErrors: what was written into the wrong field may be a token.
func TestEditSecretsInErrors(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, secret, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Edit(testPolicy, token.ID, Edit{Scopes: Grants{secret.Reveal()}}, testActor)
	if err == nil || strings.Contains(err.Error(), secret.Reveal()[secretStart:]) {
		t.Error("no error, or one with the secret in it")
	}
}

// TestKeepAudit: what is older than is to be kept is removed.
func TestKeepAudit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keep *Lifetime
		want int
	}{
		"by default": {nil, 3},
		"two years":  {&Lifetime{months: 24}, 2},
		"longer":     {&Lifetime{months: 36}, 3},
		"shorter":    {&Lifetime{seconds: 3600}, 1},
		"for ever":   {&Lifetime{}, 3},
	} {
		s := openTestStore(t)
		if test.keep != nil {
			s.KeepAudit(*test.keep)
		}
		s.memory.do(func() {
			for _, age := range []time.Duration{2*365*24*time.Hour + 48*time.Hour, 24 * time.Hour, time.Minute} {
				s.memory.audit = append(s.memory.audit, AuditEntry{Time: testTime.Add(-age)})
			}
		})
		if _, err := s.prune(); err != nil {
			t.Fatal(err)
		}
		s.memory.do(func() {
			if got := len(s.memory.audit); got != test.want {
				t.Errorf("%s: %d entries are left, want %d", name, got, test.want)
			}
		})
	}
}
