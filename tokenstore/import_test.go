package tokenstore

import (
	"errors"
	"strings"
	"testing"
	"time"
)

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
