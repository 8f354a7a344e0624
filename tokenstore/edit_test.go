package tokenstore

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestEdit edits each field and verifies that the other fields don't change.
func TestEdit(t *testing.T) {
	t.Parallel()
	created := testTime.Truncate(time.Second)
	draft := token.Draft{
		Kind: token.KindAPI, Name: "old", Account: "alice", Scopes: token.Grants{"unikernel:list"},
		AllowedIPs: []string{"10.0.0.0/8"}, RateLimit: &token.RateLimit{Requests: 60, Window: time.Minute},
		Metadata: map[string]string{"a": "1", "b": "2"}, NotBefore: created.Add(-time.Hour),
		Expiry: token.Expiry{ExpiresIn: months(1)},
	}
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		edit    token.Edit
		want    func(*token.Token)
		changes map[string]string
	}{
		"nothing": {token.Edit{}, func(*token.Token) {}, nil},
		"the same": {token.Edit{Name: text("old"), Metadata: map[string]*string{"a": text("1"), "c": nil}},
			func(*token.Token) {}, nil},
		"name": {token.Edit{Name: text("new")}, func(t *token.Token) { t.Name = "new" },
			map[string]string{"name": "old -> new"}},
		"account": {token.Edit{Account: text("")}, func(t *token.Token) { t.Account = "default" },
			map[string]string{"account": "alice -> default"}},
		"scopes": {
			token.Edit{Scopes: token.Grants{"*"}}, func(t *token.Token) { t.Scopes = token.Grants{"*"} },
			map[string]string{"scopes": "unikernel:list -> *"},
		},
		"preset": {
			token.Edit{Preset: text("read")},
			func(t *token.Token) { t.Scopes = token.Grants{"block:list", "unikernel:list"} },
			map[string]string{"scopes": "unikernel:list -> block:list unikernel:list"},
		},
		"addresses": {token.Edit{AllowedIPs: new([]string)}, func(t *token.Token) { t.AllowedIPs = nil },
			map[string]string{"allowed_ips": "10.0.0.0/8 -> none"}},
		"limits": {
			token.Edit{
				RateLimit: func(old *token.RateLimit) *token.RateLimit {
					return &token.RateLimit{Requests: old.Requests + 1, Window: old.Window}
				},
				Quota: func(old *token.Quota) *token.Quota {
					if old != nil {
						t.Errorf("the old quota is %s, want none", old)
					}
					return &token.Quota{Requests: 1000, Period: token.PeriodDay}
				},
			},
			func(t *token.Token) {
				t.RateLimit, t.Quota = token.RateLimit{Requests: 61, Window: time.Minute},
					token.Quota{Requests: 1000, Period: token.PeriodDay}
			},
			map[string]string{"rate_limit": "60/1m -> 61/1m", "quota": "none -> 1000/day"},
		},
		"no limit": {
			token.Edit{RateLimit: func(*token.RateLimit) *token.RateLimit { return nil }},
			func(t *token.Token) { t.RateLimit = token.RateLimit{} },
			map[string]string{"rate_limit": "60/1m -> none"},
		},
		"metadata": {
			token.Edit{Metadata: map[string]*string{"a": nil, "b": text("3"), "c": text("4")}},
			func(t *token.Token) { t.Metadata = map[string]string{"b": "3", "c": "4"} },
			map[string]string{"metadata": "a, b, c"},
		},
		"other metadata": {
			token.Edit{ClearMetadata: true, Metadata: map[string]*string{"b": text("2")}},
			func(t *token.Token) { t.Metadata = map[string]string{"b": "2"} }, map[string]string{"metadata": "a"},
		},
		"no metadata": {token.Edit{ClearMetadata: true}, func(t *token.Token) { t.Metadata = nil },
			map[string]string{"metadata": "a, b"}},
		"not before": {
			token.Edit{NotBefore: new(time.Time)}, func(t *token.Token) { t.NotBefore = time.Time{} },
			map[string]string{"not_before": "2027-03-14T14:09:26Z -> none"},
		},
		"longer lifetime, from now": {
			token.Edit{Expiry: &token.Expiry{ExpiresIn: months(2)}},
			func(t *token.Token) { t.ExpiresAt = created.Add(time.Hour).AddDate(0, 2, 0) },
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
			t.Errorf("%s: Edit returned error %v", name, err)
			continue
		}
		test.want(&want)
		if test.changes != nil {
			want.Version, want.UpdatedAt = 2, created.Add(time.Hour)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, *got, want)
		}
		if inForce := s.must(t, parsed(t, secret)).Token; !reflect.DeepEqual(inForce, PrincipalOf(got)) {
			t.Errorf("%s: the token in memory doesn't match: %+v", name, inForce)
		}
		if entry := s.lastAudit(t); test.changes != nil &&
			(entry.Action != "edit" || !reflect.DeepEqual(entry.Changes, test.changes)) {
			t.Errorf("%s: unexpected audit entry %+v", name, entry)
		} else if test.changes == nil && entry.Action != "create" {
			t.Errorf("%s: an edit without changes was audited: %+v", name, entry)
		}
	}
}

func TestEditRefusals(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	later := testTime.AddDate(1, 0, 0)
	policy := testPolicy
	policy.MaxScopes = map[string]token.Grants{"alice": {"block:*"}}
	for name, test := range map[string]struct {
		edit  token.Edit
		field string
	}{
		"name":              {token.Edit{Name: text("")}, "name"},
		"account":           {token.Edit{Account: text("bob")}, "account"},
		"scopes":            {token.Edit{Scopes: token.Grants{}}, "scopes"},
		"unknown scope":     {token.Edit{Scopes: token.Grants{"x:y"}}, "scopes"},
		"preset":            {token.Edit{Preset: text("none")}, "preset"},
		"preset and scopes": {token.Edit{Preset: text("read"), Scopes: token.Grants{"*"}}, "preset"},
		"address":           {token.Edit{AllowedIPs: &[]string{"x"}}, "allowed_ips"},
		"metadata":          {token.Edit{Metadata: map[string]*string{"": text("x")}}, "metadata"},
		"incomplete rate limit": {
			token.Edit{RateLimit: func(*token.RateLimit) *token.RateLimit { return &token.RateLimit{Requests: 1} }},
			"rate_limit"},
		"incomplete quota": {
			token.Edit{Quota: func(*token.Quota) *token.Quota { return &token.Quota{Period: token.PeriodDay} }},
			"quota"},
		"account allows less":  {token.Edit{Account: text("alice")}, "account"},
		"more than it allows":  {token.Edit{Account: text("alice"), Scopes: token.Grants{"*"}}, "scopes"},
		"begins after it ends": {token.Edit{NotBefore: &later}, "not_before"},
		"ends before it begins": {
			token.Edit{NotBefore: new(testTime.Add(2 * time.Hour)), Expiry: &token.Expiry{ExpiresIn: seconds(3600)}},
			"not_before",
		},
		"in the past": {token.Edit{Expiry: &token.Expiry{ExpiresAt: testTime}}, "expires_at"},
		"never":       {token.Edit{Expiry: &token.Expiry{NeverExpires: true}}, "expires_in"},
		"no expiry":   {token.Edit{Expiry: &token.Expiry{}}, "expires_in"},
		// The maximum lifetime counts from the secret's creation, not from now.
		"beyond maximum lifetime": {token.Edit{Expiry: &token.Expiry{ExpiresIn: months(24)}}, "expires_in"},
	} {
		s := openTestStore(t)
		tok, _ := s.create(t)
		s.clock.set(testTime.Add(time.Hour))
		_, err := s.Edit(policy, tok.ID, test.edit, testActor)
		if broken, ok := errors.AsType[*token.FieldError](err); !ok || broken.Field != test.field {
			t.Errorf("%s: got error %v, want one for the field %s", name, err, test.field)
		}
		if now, err := s.Get(tok.ID); err != nil || !reflect.DeepEqual(now.Token, tok) {
			t.Errorf("%s: the refused edit changed the token: %+v", name, now.Token)
		}
	}
	s := openTestStore(t)
	tok, _ := s.create(t)
	if _, err := s.Edit(policy, tok.ID, token.Edit{Account: text("alice"), Scopes: token.Grants{"block:list"}},
		testActor); err != nil {
		t.Errorf("moving to a more restricted account with fewer scopes failed: %v", err)
	}
	s.clock.set(tok.ExpiresAt)
	if _, err := s.Edit(testPolicy, tok.ID, token.Edit{Expiry: &token.Expiry{ExpiresIn: months(1)}},
		testActor); !errors.Is(err, token.ErrConflict) {
		t.Errorf("editing an expired token: got error %v, want ErrConflict", err)
	}
}

// TestEditEndsGrace verifies that shortening a token's lifetime also shortens the grace
// period, and that a later edit doesn't restore it.
func TestEditEndsGrace(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, old := s.create(t)
	if _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: 20 * time.Hour}, testActor); err != nil {
		t.Fatal(err)
	}
	for _, end := range []int64{3600, 24 * 3600} {
		if _, err := s.Edit(testPolicy, tok.ID, token.Edit{Expiry: &token.Expiry{ExpiresIn: seconds(end)}},
			testActor); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.set(testTime.Add(2 * time.Hour))
	if got := s.present(t, old); got != "previous revoked" {
		t.Errorf("the old secret is %q, want previous revoked", got)
	}
}

// TestEditErrorsHideSecrets verifies that a secret entered in the wrong field doesn't appear
// in the error.
func TestEditErrorsHideSecrets(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, secret, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Edit(testPolicy, tok.ID, token.Edit{Scopes: token.Grants{secret.Reveal()}}, testActor)
	if err == nil || strings.Contains(err.Error(), secret.Reveal()[secretOffset:]) {
		t.Error("got no error, or an error that contains the secret")
	}
}
