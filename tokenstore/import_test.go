package tokenstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestImport verifies that imported tokens keep working, are marked as imported and expire
// within max_lifetime. Only UUIDs with 122 random bits can be imported, because they don't
// need a slow hash.
func TestImport(t *testing.T) {
	t.Parallel()
	const text = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"
	created := testTime.Truncate(time.Second)
	draft := func(e token.Expiry) token.Draft {
		return token.Draft{Kind: token.KindAPI, Name: "old", Preset: "full", Expiry: e}
	}
	for name, test := range map[string]struct {
		expiry token.Expiry
		want   time.Time
		capped bool
	}{
		"its own expiry": {token.Expiry{ExpiresAt: created.AddDate(0, 1, 0)}, created.AddDate(0, 1, 0), false},
		"too late":       {token.Expiry{ExpiresAt: created.AddDate(9, 0, 0)}, created.AddDate(2, 0, 0), true},
		"too long":       {token.Expiry{ExpiresIn: months(100)}, created.AddDate(2, 0, 0), true},
		"never":          {token.Expiry{NeverExpires: true}, created.AddDate(2, 0, 0), true},
	} {
		s := openTestStore(t)
		tok, capped, err := s.Import(testPolicy, draft(test.expiry), text, testActor)
		if err != nil || capped != test.capped || !tok.ExpiresAt.Equal(test.want) ||
			tok.Format != token.FormatImported || tok.Hint() != "" {
			t.Errorf("%s: unexpected import result %+v, capped %v, %v", name, tok, capped, err)
			continue
		}
		c, err := testPolicy.Prefixes.Parse(text)
		if err != nil || s.present(t, c) != "active" {
			t.Errorf("%s: the imported secret isn't active: %v", name, err)
		}
		if _, _, err := s.Import(testPolicy, draft(test.expiry), text, testActor); !errors.Is(err, ErrTaken) {
			t.Errorf("%s: importing it again: got error %v, want ErrTaken", name, err)
		}
		// A rotation creates a native secret; the imported one works until the end of the
		// grace period.
		_, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor)
		if err != nil || !strings.HasPrefix(secret.Reveal(), "mmk_"+tok.ID.String()) ||
			s.present(t, c) != "previous active" || s.present(t, parsed(t, secret)) != "active" {
			t.Errorf("%s: after a rotation, the secrets don't have the expected status: %v, %v", name, secret, err)
		}
	}
	s := openTestStore(t)
	for _, bad := range []string{"", "x", strings.ToUpper(text), strings.Replace(text, "-4", "-1", 1)} {
		if _, _, err := s.Import(testPolicy, draft(token.Expiry{NeverExpires: true}), bad, testActor); err == nil ||
			strings.Contains(err.Error(), "0b5e") {
			t.Errorf("importing %q: got error %v", bad, err)
		}
	}
	if _, _, err := s.Import(testPolicy, draft(token.Expiry{ExpiresAt: created}), text, testActor); err == nil {
		t.Error("an expired token was imported")
	}
}

const importedUUID = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"

// importToken imports importedUUID.
func (s *testStore) importToken(t testing.TB) *token.Token {
	t.Helper()
	draft := token.Draft{Kind: token.KindAPI, Name: "old", Preset: "full", Expiry: token.Expiry{ExpiresIn: months(12)}}
	token, _, err := s.Import(testPolicy, draft, importedUUID, testActor)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *testStore) rotate(t testing.TB, id token.ID, grace time.Duration) {
	t.Helper()
	if _, _, err := s.Rotate(testPolicy, id, token.Rotation{Grace: grace}, testActor); err != nil {
		t.Fatal(err)
	}
}

// TestImportAgain verifies that a secret that was taken out of service can't be imported
// again, no matter which change ended it, in this process or the next.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	draft := token.Draft{Kind: token.KindAPI, Name: "again", Preset: "full", Expiry: token.Expiry{NeverExpires: true}}
	credential, err := testPolicy.Prefixes.Parse(importedUUID)
	if err != nil {
		t.Fatal(err)
	}
	later := func(s *testStore, d time.Duration) { s.clock.set(testTime.Add(d)) }
	for name, test := range map[string]struct {
		end func(*testing.T, *testStore, token.ID)
		// at is when the secret was taken out of service, as a duration since the import, or
		// zero if it still belongs to a token.
		at time.Duration
	}{
		"deleted": {func(t *testing.T, s *testStore, id token.ID) {
			later(s, time.Hour)
			check(t, s.Delete(id, token.AnyVersion, testActor))
		}, time.Hour},
		"rotated without grace": {func(t *testing.T, s *testStore, id token.ID) {
			later(s, time.Hour)
			s.rotate(t, id, 0)
		}, time.Hour},
		"rotated twice": {func(t *testing.T, s *testStore, id token.ID) {
			s.rotate(t, id, month)
			later(s, time.Hour)
			s.rotate(t, id, month)
		}, time.Hour},
		"grace period over": {func(t *testing.T, s *testStore, id token.ID) {
			s.rotate(t, id, time.Hour)
			later(s, month)
		}, time.Hour},
		"grace period over and rotated again": {func(t *testing.T, s *testStore, id token.ID) {
			s.rotate(t, id, time.Hour)
			later(s, month)
			s.rotate(t, id, 0)
		}, time.Hour},
		"deleted during the grace period": {func(t *testing.T, s *testStore, id token.ID) {
			s.rotate(t, id, month)
			later(s, time.Hour)
			check(t, s.Delete(id, token.AnyVersion, testActor))
		}, time.Hour},
		"revoked and deleted": {func(t *testing.T, s *testStore, id token.ID) {
			_, err := s.Revoke(id, token.AnyVersion, testActor)
			check(t, err)
			later(s, time.Hour)
			check(t, s.Delete(id, token.AnyVersion, testActor))
		}, time.Hour},
		"narrowed, rotated without grace and deleted": {func(t *testing.T, s *testStore, id token.ID) {
			_, err := s.Edit(testPolicy, id, token.Edit{Scopes: token.Grants{"unikernel:list"}}, testActor)
			check(t, err)
			later(s, time.Hour)
			s.rotate(t, id, 0)
			later(s, month)
			check(t, s.Delete(id, token.AnyVersion, testActor))
		}, time.Hour},
		"grace period shortened": {func(t *testing.T, s *testStore, id token.ID) {
			s.rotate(t, id, month)
			_, err := s.Edit(testPolicy, id, token.Edit{Expiry: &token.Expiry{ExpiresIn: seconds(3600)}}, testActor)
			check(t, err)
			later(s, 2*time.Hour)
		}, time.Hour},
		"during the grace period": {func(t *testing.T, s *testStore, id token.ID) { s.rotate(t, id, month) }, 0},
		"revoked": {func(t *testing.T, s *testStore, id token.ID) {
			_, err := s.Revoke(id, token.AnyVersion, testActor)
			check(t, err)
		}, 0},
		"expired": {func(_ *testing.T, s *testStore, _ token.ID) { later(s, 13*month) }, 0},
	} {
		s := openTestStore(t)
		test.end(t, s, s.importToken(t).ID)
		before, beforeErr := s.Authenticate(credential, s.Now())
		for _, process := range []string{"this process", "the next"} {
			_, _, err := s.Import(testPolicy, draft, importedUUID, testActor)
			ended, isEnded := errors.AsType[*EndedError](err)
			switch {
			case !errors.Is(err, ErrTaken) || isEnded != (test.at != 0):
				t.Errorf("%s, %s: got error %v", name, process, err)
			case isEnded && ended.At.Sub(testTime).Abs() > test.at+time.Second, isEnded &&
				ended.At.Sub(testTime) < test.at-time.Second:
				t.Errorf("%s, %s: secret was taken out of service at %s", name, process, ended.At)
			}
			after, afterErr := s.Authenticate(credential, s.Now())
			if !errors.Is(afterErr, beforeErr) || after.Status != before.Status || after.Token.ID != before.Token.ID {
				t.Errorf("%s, %s: the attempt changed the secret from %v, %v to %v, %v", name, process, before.Status,
					beforeErr,
					after.Status, afterErr)
			}
			check(t, s.Close())
			s = reopen(t, s.memory, s.clock)
		}
	}
}

// TestNativeSecretsAreNotRemembered verifies that only imported secrets are stored as ended.
func TestNativeSecretsAreNotRemembered(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, _ := s.create(t)
	for range 3 {
		s.rotate(t, tok.ID, time.Hour)
	}
	check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
	if n := len(s.memory.ended); n != 0 {
		t.Errorf("%d secrets were stored as ended, want none", n)
	}
}
