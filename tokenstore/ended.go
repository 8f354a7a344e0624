package tokenstore

import (
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// After this store ends an imported secret, Mollymawk still accepts that secret, and the
// imported user record still contains it. The store therefore keeps the digests of imported
// secrets that were taken out of service and refuses to import those secrets again. The
// digests are never deleted: Mollymawk users can extend their tokens at any time, so the store
// can't know when Mollymawk stops accepting a secret.

// EndedSecret is an imported secret that was taken out of service.
type EndedSecret struct {
	Digest token.Digest
	// At is when the secret stopped working, or will stop at the end of a rotation's grace
	// period.
	At time.Time
}

// EndedError reports that a secret was taken out of service. It wraps [ErrTaken].
type EndedError struct {
	// At is when the secret was taken out of service, or zero if the record can't be read.
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

// setEnded sets Ended and EndsKnown for a change to old. Every change calls setEnded, so
// setEnded covers every way a secret can end.
func (c *Change) setEnded(old *token.Token, now time.Time) {
	if old == nil {
		return
	}
	secret := old.Digest
	if old.Format != token.FormatImported {
		// The token doesn't record whether its previous secret was imported, but the backend
		// does.
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
