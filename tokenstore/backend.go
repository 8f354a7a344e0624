package tokenstore

import (
	"io"
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
	// ErrTaken; if the token's Digest is new and was ended by an earlier change, it is
	// an [*EndedError]; if the change's request is a repeat, it is ErrRepeated. Then
	// nothing is changed.
	Apply(id ID, now time.Time, change ChangeFunc) (*Token, error)
	// List walks the tokens of order, beginning after the position, backwards if
	// descending, until yield returns false. Damaged tokens are left out. yield must
	// not call the backend and may keep what it is given.
	List(order Order, after *Position, descending bool, yield func(*Token) bool) error
	// Scan walks all tokens whose ids come after the given one, in the order of their
	// ids, with their saved usage, until yield returns false. Damaged tokens are left
	// out. What yield is given is valid during the call only; it must not call the
	// backend.
	Scan(after ID, yield func(*Token, Usage) bool) error
	// Usage returns what SaveUsage last stored for the token, with the last of its
	// days, or none. It must not wait for the network.
	Usage(id ID) (UsageOf, error)
	// Days walks the other days that are stored of the token's usage, from first to
	// last in their order, until yield returns false. Damaged ones are left out.
	Days(id ID, first, last Day, yield func(DayUsage) bool) error
	// SaveUsage stores absolute totals, each [UsageOf.After] what is stored. Of a day
	// other than the last that is stored already the larger counts stay. Ids that are
	// no tokens are left out, so that totals saved late bring nothing of a deleted
	// token back.
	SaveUsage(now time.Time, totals []UsageOf) error
	// Counters returns where totals outlive the process, always the same, or nil if
	// the backend has no such place.
	Counters() Counters
	// TendCounters does for the counters what takes time. The error says why counts
	// that aren't saved yet would be lost if the process were killed now, or have been
	// lost so.
	TendCounters() error
	// Request returns the request kept under a key, or ErrNotFound.
	Request(key Digest) (KeptRequest, error)
	// Audit walks the audit from its newest entry, or from the one before the
	// position, until yield returns false. Damaged entries are left out.
	Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error
	// Prune removes what is no longer kept, a bounded number of records, and says
	// whether there are more.
	Prune(keep Retention) (more bool, err error)
	// RecordedTime is the newest time given to Apply or SaveUsage.
	RecordedTime() (time.Time, error)
	// SetRecordedTime puts the recorded time and the passed time back or forward, with
	// the audit entry.
	SetRecordedTime(now time.Time, entry AuditEntry) error
	// PassedTime is the last one given to SetPassedTime or SetRecordedTime, or zero.
	PassedTime() (time.Time, error)
	// SetPassedTime keeps the time that is known to have passed.
	SetPassedTime(passed time.Time) error
	// ToldTime is the last one given to SetToldTime, or none.
	ToldTime() (time.Time, error)
	// SetToldTime notes up to when tokens have been told of that come near their end.
	SetToldTime(told time.Time) error
	// Backup returns a copy of the whole store as it is now, and its length in
	// bytes. Reading it slowly hinders nobody.
	Backup() (content io.ReadCloser, length int64, err error)
	// Close waits for calls under way. Calls that come later fail with ErrClosed.
	Close() error
}

// Counters hold totals of tokens where they outlive the process, each token's in a slot.
// The methods are safe for concurrent use; they neither wait nor fail. A total lower
// than one that was noted before is ignored.
type Counters interface {
	// Take returns a slot for a token whose totals, so far, are given and saved, or 0 if
	// there is no room at the moment.
	Take(id ID, totals Usage) (slot uint32)
	// Free gives a slot back.
	Free(slot uint32)
	// Allowed notes the total and the time of the use, in microseconds since 1970. It
	// says whether it could be noted.
	Allowed(slot uint32, total uint64, at int64) bool
	Denied(slot uint32, total uint64)
	// Saved says that SaveUsage has stored these totals.
	Saved(slot uint32, u Usage)
}

// Retention says from when on things are kept.
type Retention struct {
	// Audit entries and kept requests.
	Audit, Requests time.Time
	// Hours is the first day of which the hours are, Days the first that is.
	Hours, Days Day
}

// ChangeFunc turns a token into what it shall be.
type ChangeFunc func(old *Token) (Change, error)

// Change is what becomes of a token.
type Change struct {
	// Token is what the token shall be; nil deletes it.
	Token *Token
	Audit AuditEntry
	// Request, unless it is nil, is kept to know a repeat by.
	Request *KeptRequest
	// Ended, unless it is nil, is kept permanently. If its digest is kept already, the
	// earlier time stays. If EndsKnown, it is kept only if its digest is already.
	Ended     *EndedSecret
	EndsKnown bool
}

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
