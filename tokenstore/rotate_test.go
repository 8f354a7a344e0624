package tokenstore

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestRotate verifies that both secrets work until the grace period ends, and that afterwards
// only the new one works.
func TestRotate(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"in memory": true, "only in the backend": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			tok, old := s.create(t)
			if used {
				s.must(t, old)
			}
			s.clock.set(testTime.Add(time.Hour))
			rotated, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor)
			if err != nil {
				t.Fatal(err)
			}
			current := parsed(t, secret)
			ends := testTime.Add(2 * time.Hour).Truncate(time.Second)
			if rotated.ID != tok.ID || !rotated.PreviousValidUntil.Equal(ends) ||
				!rotated.ExpiresAt.Equal(tok.ExpiresAt) || rotated.Version != 2 {
				t.Errorf("Rotate returned %+v", rotated)
			}
			for _, at := range []struct {
				time     time.Time
				old, new string
			}{
				{testTime.Add(time.Hour), "previous active", "active"},
				{ends.Add(-1), "previous active", "active"},
				{ends, "previous revoked", "active"},
				{tok.ExpiresAt, "previous revoked", "expired"},
			} {
				s.clock.set(at.time)
				if old, current := s.present(t, old), s.present(t, current); old != at.old || current != at.new {
					t.Errorf("at %s: the old secret is %q and the new one %q", at.time, old, current)
				}
			}
			if entry := s.lastAudit(t); entry.Action != "rotate" ||
				!reflect.DeepEqual(entry.Changes, map[string]string{"grace": "3600s"}) {
				t.Errorf("unexpected audit entry %+v", entry)
			}
		})
	}
}

func TestRotateExpiries(t *testing.T) {
	t.Parallel()
	created := testTime.Truncate(time.Second)
	hour := seconds(3600)
	for name, test := range map[string]struct {
		rotation          token.Rotation
		expires, previous time.Time
	}{
		"no grace": {token.Rotation{}, created.Add(24 * time.Hour), time.Time{}},
		"grace": {token.Rotation{Grace: time.Minute}, created.Add(24 * time.Hour),
			created.Add(time.Minute)},
		"grace beyond the expiry": {token.Rotation{Grace: 48 * time.Hour}, created.Add(24 * time.Hour),
			created.Add(24 * time.Hour)},
		"longer": {token.Rotation{Grace: 48 * time.Hour, Expiry: token.Expiry{ExpiresIn: months(1)}},
			created.AddDate(0, 1, 0), created.Add(24 * time.Hour)},
		"shorter": {token.Rotation{Grace: 2 * time.Hour, Expiry: token.Expiry{ExpiresIn: hour}},
			created.Add(time.Hour), created.Add(time.Hour)},
		"maximum lifetime": {token.Rotation{Expiry: token.Expiry{ExpiresIn: months(24)}}, created.AddDate(2, 0, 0),
			time.Time{}},
		"grace of half a second": {token.Rotation{Grace: time.Second / 2}, created.Add(24 * time.Hour), time.Time{}},
		"expiry date": {token.Rotation{Expiry: token.Expiry{ExpiresAt: created.AddDate(1, 0, 0)}},
			created.AddDate(1, 0, 0), time.Time{}},
	} {
		s := openTestStore(t)
		token, old := s.create(t)
		rotated, _, err := s.Rotate(testPolicy, token.ID, test.rotation, testActor)
		if err != nil {
			t.Errorf("%s: Rotate returned error %v", name, err)
			continue
		}
		if !rotated.ExpiresAt.Equal(test.expires) || !rotated.PreviousValidUntil.Equal(test.previous) ||
			!rotated.SecretMadeAt.Equal(created) {
			t.Errorf("%s: Rotate returned %+v", name, rotated)
		}
		if got := s.present(t, old); (got == "previous active") != !test.previous.IsZero() {
			t.Errorf("%s: the old secret is %q", name, got)
		}
	}
}

// TestRotateTwice verifies that the secret before the previous one stops working immediately.
func TestRotateTwice(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, first := s.create(t)
	rotate := func() token.Credential {
		_, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor)
		if err != nil {
			t.Fatal(err)
		}
		return parsed(t, secret)
	}
	second := rotate()
	third := rotate()
	if a, b, c := s.present(t, first), s.present(t, second), s.present(t, third); a != "unknown" ||
		b != "previous active" || c != "active" {
		t.Errorf("the secrets, oldest first, are %q, %q and %q", a, b, c)
	}
}

func TestRotateRefusals(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, old := s.create(t)
	for name, test := range map[string]struct {
		rotation token.Rotation
		field    string
	}{
		"too long":      {token.Rotation{Expiry: token.Expiry{ExpiresIn: months(25)}}, "expires_in"},
		"in the past":   {token.Rotation{Expiry: token.Expiry{ExpiresAt: testTime.Add(-time.Hour)}}, "expires_at"},
		"never":         {token.Rotation{Expiry: token.Expiry{NeverExpires: true}}, "expires_in"},
		"two expiries":  {token.Rotation{Expiry: token.Expiry{NeverExpires: true, ExpiresIn: months(1)}}, "expires_at"},
		"other version": {token.Rotation{Version: 7}, ""},
	} {
		_, secret, err := s.Rotate(testPolicy, tok.ID, test.rotation, testActor)
		field, _ := errors.AsType[*token.FieldError](err)
		version, _ := errors.AsType[*token.VersionError](err)
		if err == nil || secret.Reveal() != "" || (test.field != "" && (field == nil || field.Field != test.field)) ||
			(test.field == "" && (version == nil || version.Version != 1)) {
			t.Errorf("%s: unexpected error %v", name, err)
		}
	}
	if got := s.present(t, old); got != "active" {
		t.Errorf("after refused rotations, the secret is %q, want active", got)
	}
	s.clock.set(tok.ExpiresAt)
	if _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Expiry: token.Expiry{ExpiresIn: months(1)}},
		testActor); !errors.Is(err, token.ErrConflict) {
		t.Errorf("rotating an expired token: got error %v, want ErrConflict", err)
	}
	revoked, _ := s.create(t)
	if _, err := s.Revoke(revoked.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rotate(testPolicy, revoked.ID, token.Rotation{}, testActor); !errors.Is(err, token.ErrConflict) {
		t.Errorf("rotating a revoked token: got error %v, want ErrConflict", err)
	}
	if _, _, err := s.Rotate(testPolicy, token.ID{}, token.Rotation{}, testActor); !errors.Is(err, ErrNotFound) {
		t.Errorf("rotating an unknown token: got error %v, want ErrNotFound", err)
	}
}

// TestPreviousUse verifies that PreviousUse returns the last use of the previous secret, even
// after a restart, and never an older secret's last use.
func TestPreviousUse(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, old := s.create(t, func(d *token.Draft) { d.ExpiresIn = months(1) })
	check := func(want LastUse) {
		t.Helper()
		if _, got, err := s.PreviousUse(tok.ID); err != nil || got != want {
			t.Errorf("PreviousUse returned %+v, %v, want %+v", got, err, want)
		}
	}
	use := func(c token.Credential, ip string) LastUse {
		use := LastUse{Time: s.Now(), IP: ip, UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"}
		s.CountAllowed(s.must(t, c), "unikernel:list", use)
		return use
	}
	pass := func(d time.Duration) { s.clock.set(s.Now().Add(d)) }
	use(old, "203.0.113.1")
	check(LastUse{})
	pass(time.Hour)
	_, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: 24 * time.Hour}, testActor)
	if err != nil {
		t.Fatal(err)
	}
	current := parsed(t, secret)
	use(current, "203.0.113.2")
	check(LastUse{})
	check(use(old, "203.0.113.3"))
	pass(time.Millisecond)
	check(use(old, "203.0.113.4"))
	pass(time.Second)
	last := use(old, "203.0.113.5")
	use(current, "203.0.113.6")
	check(last)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s.memory, s.clock)
	check(last)
	s.must(t, current) // loads the token into memory again
	check(last)
	use(current, "203.0.113.7")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	check(last)
	pass(time.Hour)
	if _, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor); err != nil {
		t.Fatal(err)
	}
	check(LastUse{})
	again := use(current, "203.0.113.8")
	check(again)
	if _, _, err := s.PreviousUse(token.ID{'x'}); !errors.Is(err, ErrNotFound) {
		t.Errorf("PreviousUse of an unknown token: got error %v, want ErrNotFound", err)
	}
}

// TestExpiresSoonAfterRotation verifies that a rotation restarts the token's lifetime.
func TestExpiresSoonAfterRotation(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, _ := s.create(t, func(d *token.Draft) { d.ExpiresIn = mustLifetime(t, "100d") })
	s.clock.set(testTime.Add(80 * 24 * time.Hour))
	if token, _, err := s.Rotate(testPolicy, tok.ID, token.Rotation{}, testActor); err != nil ||
		token.ExpiresSoon(mustLifetime(t, "30d"), s.Now()) {
		t.Errorf("the rotated token still expires soon, or Rotate failed: %v", err)
	}
}
