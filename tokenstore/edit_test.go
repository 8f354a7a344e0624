package tokenstore

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestEdit changes each field, and only what it names.
func TestEdit(t *testing.T) {
	t.Parallel()
	made := testTime.Truncate(time.Second)
	draft := Draft{
		Kind: KindAPI, Name: "old", Account: "alice", Scopes: Grants{"unikernel:list"}, AllowedIPs: []string{"10.0.0.0/8"}, RateLimit: &RateLimit{60, time.Minute},
		Metadata: map[string]string{"a": "1", "b": "2"}, NotBefore: made.Add(-time.Hour), Expiry: Expiry{ExpiresIn: months(1)},
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
		"limits": {
			Edit{
				RateLimit: func(old *RateLimit) *RateLimit { return &RateLimit{old.Requests + 1, old.Window} },
				Quota: func(old *Quota) *Quota {
					if old != nil {
						t.Errorf("there was a quota %s", old)
					}
					return &Quota{1000, PeriodDay}
				},
			},
			func(t *Token) { t.RateLimit, t.Quota = RateLimit{61, time.Minute}, Quota{1000, PeriodDay} },
			map[string]string{"rate_limit": "60/1m -> 61/1m", "quota": "none -> 1000/day"},
		},
		"no limit": {
			Edit{RateLimit: func(*RateLimit) *RateLimit { return nil }}, func(t *Token) { t.RateLimit = RateLimit{} },
			map[string]string{"rate_limit": "60/1m -> none"},
		},
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
			Edit{Expiry: &Expiry{ExpiresIn: months(2)}}, func(t *Token) { t.ExpiresAt = made.Add(time.Hour).AddDate(0, 2, 0) },
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
		if inForce := s.must(t, parsed(t, secret)).Token; !reflect.DeepEqual(inForce, PrincipalOf(got)) {
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
	policy := testPolicy
	policy.MaxScopes = map[string]Grants{"alice": {"block:*"}}
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
		"half a rate limit":   {Edit{RateLimit: func(*RateLimit) *RateLimit { return &RateLimit{Requests: 1} }}, "rate_limit"},
		"half a quota":        {Edit{Quota: func(*Quota) *Quota { return &Quota{Period: PeriodDay} }}, "quota"},
		"account gives less":  {Edit{Account: text("alice")}, "account"},
		"more than it gives":  {Edit{Account: text("alice"), Scopes: Grants{"*"}}, "scopes"},
		"begins after it end": {Edit{NotBefore: &later}, "not_before"},
		"ends before it begins": {
			Edit{NotBefore: new(testTime.Add(2 * time.Hour)), Expiry: &Expiry{ExpiresIn: seconds(3600)}}, "not_before",
		},
		"over":      {Edit{Expiry: &Expiry{ExpiresAt: testTime}}, "expires_at"},
		"never":     {Edit{Expiry: &Expiry{NeverExpires: true}}, "expires_in"},
		"no expiry": {Edit{Expiry: &Expiry{}}, "expires_in"},
		// The longest lifetime counts from the making of the secret, not from now.
		"later than the secret may live": {Edit{Expiry: &Expiry{ExpiresIn: months(24)}}, "expires_in"},
	} {
		s := openTestStore(t)
		token, _ := s.create(t)
		s.clock.set(testTime.Add(time.Hour))
		_, err := s.Edit(policy, token.ID, test.edit, testActor)
		if broken, ok := errors.AsType[*FieldError](err); !ok || broken.Field != test.field {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(now.Token, token) {
			t.Errorf("%s: it was changed: %+v", name, now.Token)
		}
	}
	s := openTestStore(t)
	token, _ := s.create(t)
	if _, err := s.Edit(policy, token.ID, Edit{Account: text("alice"), Scopes: Grants{"block:list"}}, testActor); err != nil {
		t.Errorf("an account that gives less, with less: %v", err)
	}
	s.clock.set(token.ExpiresAt)
	if _, err := s.Edit(testPolicy, token.ID, Edit{Expiry: &Expiry{ExpiresIn: months(1)}}, testActor); !errors.Is(err, ErrConflict) {
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
	for _, end := range []int64{3600, 24 * 3600} {
		if _, err := s.Edit(testPolicy, token.ID, Edit{Expiry: &Expiry{ExpiresIn: seconds(end)}}, testActor); err != nil {
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
	if err == nil || strings.Contains(err.Error(), secret.Reveal()[secretOffset:]) {
		t.Error("no error, or one with the secret in it")
	}
}
