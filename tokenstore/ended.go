package tokenstore

import (
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Mollymawk goes on accepting an imported secret after this store has ended it, and
// the user record that is imported still has it. So the store remembers the digests
// of imported secrets that were taken out of service, and no import brings them
// back. They are kept permanently: Mollymawk's users can extend their tokens at any
// time, so nothing in the record tells when Mollymawk stops accepting one.

// EndedSecret is an imported secret that was taken out of service.
type EndedSecret struct {
	Digest token.Digest
	// At is when the secret stopped working, or stops at the end of a rotation's grace.
	At time.Time
}

// EndedError reports that a secret was taken out of service. It wraps [ErrTaken].
type EndedError struct {
	// At is when; zero if that can't be read.
	At time.Time
}

func (e *EndedError) Error() string {
	if e.At.IsZero() {
		return "the secret was taken out of service"
	}
	return fmt.Sprintf("the secret was taken out of service at %s", e.At.Format(time.RFC3339))
}

// Unwrap returns [ErrTaken].
func (e *EndedError) Unwrap() error { return ErrTaken }

// noteEnded sets what the change of a token ends. Every change passes through it, so
// that no way of ending a secret can be forgotten.
func (c *Change) noteEnded(old *token.Token, now time.Time) {
	if old == nil {
		return
	}
	secret := old.Digest
	if old.Format != token.FormatImported {
		// The token doesn't tell whether its previous secret was imported; the backend does.
		secret, c.EndsKnown = old.PreviousDigest, true
	}
	if secret.IsZero() || c.Token != nil && c.Token.Digest == secret {
		return
	}
	c.Ended = &EndedSecret{Digest: secret, At: now}
	if c.Token != nil && c.Token.PreviousDigest == secret {
		c.Ended.At = c.Token.PreviousValidUntil
	}
}
