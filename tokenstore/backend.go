package tokenstore

import (
	"time"
)

// Backend keeps tokens. It holds no rules: those are the [Store]'s. All methods
// are safe for concurrent use.
//
// An error is, or wraps, [ErrNotFound], [ErrDamaged], [ErrTaken] or
// [ErrUnavailable]; any other error counts as ErrUnavailable, except those of a
// ChangeFunc. After an ErrUnavailable of Apply the outcome is unknown: the change
// may be in the store or not.
type Backend interface {
	// Token returns the token with this id. It must not wait for the network.
	Token(id ID) (*Token, error)
	// IDOf returns the id of the token with this Digest or PreviousDigest. It must
	// not wait for the network, and its cost must not tell whether the digest is
	// nearly that of a token.
	IDOf(digest Digest) (ID, error)
	// Apply changes one token in one transaction with its audit entry and returns
	// what it became. The change is on disk when Apply returns. change sees the
	// token as stored, or nil if there is none, and may be called more than once;
	// its error is returned as it is and nothing is changed. It must not keep or
	// alter what it is given. If another token has one of the digests, the error is
	// ErrTaken and nothing is changed.
	Apply(id ID, now time.Time, change ChangeFunc) (*Token, error)
	// List walks the tokens of order, beginning after the position, backwards if
	// descending, until yield returns false. Damaged tokens are left out. yield must
	// not call the backend and may keep what it is given.
	List(order Order, after *Position, descending bool, yield func(*Token) bool) error
	// Usage returns what SaveUsage last stored for the token, or none. It must not
	// wait for the network.
	Usage(id ID) (Usage, error)
	// SaveUsage stores absolute totals. Ids that are no tokens are left out, so
	// that totals saved late bring nothing of a deleted token back.
	SaveUsage(now time.Time, totals []UsageOf) error
	// RecordedTime is the newest time given to Apply or SaveUsage.
	RecordedTime() (time.Time, error)
	// Close waits for calls under way. Calls that come later fail with ErrClosed.
	Close() error
}

// ChangeFunc turns a token into what it shall be; a nil result deletes it.
type ChangeFunc func(old *Token) (*Token, AuditEntry, error)

// Order is a sequence that tokens are kept in, so that a page of it costs no more
// than its length.
type Order uint8

const (
	// OrderCreated is by CreatedAt, then id.
	OrderCreated Order = iota + 1
	// OrderExpires is by ExpiresAt, then id; tokens without end come last.
	OrderExpires
)

// Position is a place in an [Order]: that of a token, whether it still exists or
// not.
type Position struct {
	// Time is the token's CreatedAt or ExpiresAt.
	Time time.Time
	ID   ID
}

// PositionOf returns the token's place in the order.
func (o Order) PositionOf(t *Token) Position {
	if o == OrderExpires {
		return Position{Time: t.ExpiresAt, ID: t.ID}
	}
	return Position{Time: t.CreatedAt, ID: t.ID}
}

// AuditEntry is a line of the record of who changed what.
type AuditEntry struct {
	Time time.Time
	// Actor is an admin token's id, a Caddy user's name or "caddy-admin".
	Actor string
	// Action is "create", "delete" and so on.
	Action    string
	TokenID   ID
	TokenName string
	// Address is where the call came from.
	Address string
	// Changes are the fields that changed, in words; never a secret.
	Changes map[string]string
}
