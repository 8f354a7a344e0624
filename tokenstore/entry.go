package tokenstore

import (
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// entry holds the data about a token in use that requests need. It contains no pointers, so
// the garbage collector never scans entries, even if there are a million of them.
type entry struct {
	mu sync.Mutex
	// terms is the number of the token's terms in termsList.
	terms uint32
	state entryState
	// nameLength is the length of the name. Names that don't fit in the name array are stored
	// in the entry's extra.
	nameLength uint8
	id         token.ID
	digest     token.Digest
	// These times are in whole seconds, because validity doesn't depend on anything finer; see
	// secondsOf.
	expires, notBefore, began int64
	rate                      rateState
	quota                     quotaState
	name                      [inlineName]byte
}

// entryState is a set of bits.
type entryState uint8

const (
	// stateKnown is set while the token can be found by its secrets.
	stateKnown entryState = 1 << iota
	stateRevoked
	stateDisabled
	// stateExtra is set if the entry has an extra.
	stateExtra
)

// extra holds data that only a few tokens need.
type extra struct {
	// previous is the digest of the previous secret, which is valid until previousUntil.
	previous      token.Digest
	previousUntil time.Time
	// name is the token's name if it is too long for the entry.
	name string
}

// yearOne is the Unix time of the zero time.Time.
const yearOne = -62135596800

// secondsOf converts a time to seconds since the start of year 1. The zero time becomes 0.
func secondsOf(t time.Time) int64 { return t.Unix() - yearOne }

func timeOfSeconds(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds+yearOne, 0).UTC()
}

// status is like [token.Token.Status], but the caller must hold e.mu.
func (e *entry) status(now time.Time) token.Status {
	switch seconds := secondsOf(now); {
	case e.state&stateRevoked != 0:
		return token.StatusRevoked
	case e.state&stateDisabled != 0:
		return token.StatusDisabled
	case seconds < e.notBefore:
		return token.StatusNotYetValid
	case e.expires != 0 && seconds >= e.expires:
		return token.StatusExpired
	}
	return token.StatusActive
}

// set copies a token into the entry. The caller must hold e.mu.
func (e *entry) set(tok *token.Token, terms uint32, hasExtra bool) {
	if e.terms != terms {
		e.quota.allotted = 0 // the quota may have changed
	}
	e.terms, e.digest = terms, tok.Digest
	e.expires, e.notBefore, e.began = secondsOf(tok.ExpiresAt), secondsOf(tok.NotBefore), secondsOf(tok.ValidFrom())
	e.state = stateKnown
	if !tok.RevokedAt.IsZero() {
		e.state |= stateRevoked
	}
	if !tok.DisabledAt.IsZero() {
		e.state |= stateDisabled
	}
	if hasExtra {
		e.state |= stateExtra
	}
	e.name, e.nameLength, _ = splitName(tok.Name)
	if tok.Quota == (token.Quota{}) {
		e.quota = quotaState{} // requests made before the next quota is set would be missing
	}
}
