package tokenstore

import (
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// entry is what a request needs of a token in use. It has no pointer, so that a million
// of them cost the garbage collector nothing.
type entry struct {
	mu sync.Mutex
	// number of its terms in termsList.
	terms uint32
	state entryState
	// nameLength is the length of the name; a name that is longer than the array is in
	// extra.
	nameLength uint8
	id         token.ID
	digest     token.Digest
	// All that validity depends on are whole seconds; see secondsOf.
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
	// stateExtra is set if there is an extra.
	stateExtra
)

// extra is what few tokens have.
type extra struct {
	// previous is the secret from before a rotation, valid until the time.
	previous      token.Digest
	previousUntil time.Time
	// name is set if it is too long for the entry.
	name string
}

// yearOne is the zero time.Time in seconds since 1970.
const yearOne = -62135596800

// secondsOf returns a time in seconds since the year 1, so that a zero time is 0.
func secondsOf(t time.Time) int64 { return t.Unix() - yearOne }

func timeOfSeconds(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds+yearOne, 0).UTC()
}

// status is [token.Token.Status]. The lock is held.
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

// set makes the entry say what a token is. The lock is held.
func (e *entry) set(tok *token.Token, terms uint32, hasExtra bool) {
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
	name := newTokenName(tok.Name)
	e.name, e.nameLength = name.short, name.length
	if tok.Quota == (token.Quota{}) {
		e.quota = quotaState{} // which misses the requests until there is one again
	}
}
