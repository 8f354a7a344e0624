package tokenstore

import (
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestExpiresSoon verifies, to the second, that a token or principal expires soon if its
// expiry is within the warning period and it is in the last quarter of its lifetime.
func TestExpiresSoon(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	created := testTime.Truncate(time.Second)
	for name, tt := range map[string]struct {
		warning, life string
		notBefore     time.Duration
		near          time.Duration // after the token's creation
	}{
		"long life":       {"30d", "365d", 0, 335 * day},
		"one month":       {"30d", "28d", 0, 21 * day},
		"four warnings":   {"30d", "120d", 0, 90 * day},
		"hours":           {"30d", "8h", 0, 6 * time.Hour},
		"one second":      {"30d", "1s", 0, 750 * time.Millisecond},
		"short warning":   {"1h", "28d", 0, 28*day - time.Hour},
		"unlimited":       {"", "400d", 0, 300 * day},
		"begins later":    {"30d", "100d", 60 * day, 90 * day},
		"beyond calendar": {"9000y", "40d", 0, 30 * day},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			var warning token.Lifetime
			if tt.warning != "" {
				warning = mustLifetime(t, tt.warning)
			}
			token, credential := s.create(t, func(d *token.Draft) {
				d.ExpiresIn = mustLifetime(t, tt.life)
				if tt.notBefore > 0 {
					d.NotBefore = created.Add(tt.notBefore)
				}
			})
			match := s.must(t, credential)
			for _, step := range []struct {
				now  time.Time
				want bool
			}{
				{created, false},
				{created.Add(tt.near - 1), false},
				{created.Add(tt.near), true},
				{token.ExpiresAt, true},
			} {
				if got := token.ExpiresSoon(warning, step.now); got != step.want {
					t.Errorf("at %s, ExpiresSoon of the token returned %v", step.now, got)
				}
				if got := match.Token.ExpiresSoon(warning, step.now); got != step.want {
					t.Errorf("at %s, ExpiresSoon of the principal returned %v", step.now, got)
				}
			}
		})
	}
	unlimited := &token.Token{SecretMadeAt: testTime}
	if unlimited.ExpiresSoon(token.Lifetime{}, testTime) {
		t.Error("ExpiresSoon returned true for a token that never expires")
	}
}
