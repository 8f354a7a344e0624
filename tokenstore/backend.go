package tokenstore

import (
	"io"
	"iter"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Backend keeps tokens. It holds no rules: those are the [Store]'s. All methods
// are safe for concurrent use.
//
// An error is, or wraps, [ErrNotFound], [token.ErrDamaged], [ErrTaken] or
// [ErrUnavailable]; any other error counts as ErrUnavailable, except those of a
// ChangeFunc. After an ErrUnavailable of Apply the outcome is unknown: the change
// may be in the store or not.
type Backend interface {
	// Token returns the token with this id. It must not wait for the network.
	Token(id token.ID) (*token.Token, error)
	// IDOf returns the id of the token with this Digest or PreviousDigest. It must
	// not wait for the network, and its cost must not tell whether the digest is
	// nearly that of a token.
	IDOf(digest token.Digest) (token.ID, error)
	// Apply changes one token in one transaction with its audit entry and returns
	// what it became. The change is on disk when Apply returns, and so is what a refusal
	// rests on. change sees the token as stored, or nil if there is none, and may be called
	// more than once. Of a damaged token it sees the ID only, and can only delete it. Its
	// error is returned as it is and nothing is changed. It must not keep or alter what it
	// is given. If another token has one of the digests, the error is
	// ErrTaken; if the token's Digest is new and was ended by an earlier change, it is
	// an [*EndedError]; if the change's request is a repeat, it is ErrRepeated. Then
	// nothing is changed.
	Apply(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error)
	// List walks the tokens of order, beginning after the position, backwards if
	// descending, until yield returns false. Of damaged tokens only the ID and the time of
	// their position are set. yield must not call the backend and may keep what it is given.
	List(order Order, after *Position, descending bool, yield func(*token.Token) bool) error
	// Scan walks all tokens whose ids come after the given one, in the order of their
	// ids, with their saved usage, until yield returns false. Of damaged tokens only the ID is
	// set. What yield is given is valid during the call only; it must not call the backend.
	Scan(after token.ID, yield func(*token.Token, Usage) bool) error
	// Usage returns what SaveUsage stored of the token, or none, with at least its days from
	// first to last, and the state as it was then. It must not wait for the network. With
	// ErrDamaged it returns the days that can be read.
	Usage(id token.ID, first, last Day) (Usage, FlushState, error)
	// SaveUsage adds what came to the usage of tokens, [Usage.Plus], and stores the
	// state, in one transaction. Ids that are no tokens are left out, so that counts that
	// are saved late bring nothing of a deleted token back. A usage that can't be read
	// begins at zero.
	SaveUsage(now time.Time, state FlushState, came iter.Seq2[token.ID, Usage]) error
	// JournalPath returns where the counts that are not saved survive the process, always
	// the same, or "" if the backend has no such place. No other process uses it.
	JournalPath() string
	// Request returns the request kept under a key, or ErrNotFound.
	Request(key token.Digest) (KeptRequest, error)
	// Audit walks the audit from its newest entry, or from the one before the
	// position, until yield returns false. Damaged entries are left out.
	Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error
	// Prune removes what is no longer kept, a bounded number of records, and says
	// whether there are more.
	Prune(keep Retention) (more bool, err error)
	// State returns the state of the store.
	State() (State, error)
	// SetTimes stores those times of a state that are not zero, and adds the entry, unless
	// it is nil, to the audit.
	SetTimes(times State, entry *AuditEntry) error
	// Health returns the condition of the place where the tokens are. It doesn't wait for
	// a disk.
	Health() Health
	// Sequence returns the number of the newest change that was written. It grows with
	// each of them, and a copy of the store from before a change has a smaller one.
	Sequence() uint64
	// Compact gives back the space of what was deleted, and returns how many bytes the
	// store took before and after. Changes wait meanwhile. A backend that can't returns
	// [errors.ErrUnsupported].
	Compact() (before, after int64, err error)
	// Backup returns a copy of the whole store as it is now, and its length in
	// bytes. A slow reader does not block writers.
	Backup() (content io.ReadCloser, length int64, err error)
	// Close waits for calls under way. Later calls fail with ErrClosed.
	Close() error
}

// State is what a store must know beyond its tokens. Times are zero until they are set.
type State struct {
	// Recorded is the newest time given to Apply or SaveUsage.
	Recorded time.Time
	// Elapsed is the time that is known to have passed.
	Elapsed time.Time
	// Announced is the expiry time up to which expiring tokens have been reported.
	Announced time.Time
	// Flush is the one given to SaveUsage.
	Flush FlushState
	// Identity distinguishes the store, with all its copies, from others. 0 is unknown.
	Identity uint64
}

// Retention says from when on things are kept.
type Retention struct {
	// Audit entries and kept requests.
	Audit, Requests time.Time
	// Hours is the first day of which the hours are, Days the first that is.
	Hours, Days Day
}

// ChangeFunc returns what becomes of a token.
type ChangeFunc func(old *token.Token) (Change, error)

// Change is what becomes of a token.
type Change struct {
	// Token is the token after the change; nil deletes it.
	Token *token.Token
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
	ID   token.ID
}

// PositionOf returns the token's place in the order.
func (o Order) PositionOf(t *token.Token) Position {
	if o == OrderExpires {
		return Position{Time: t.ExpiresAt, ID: t.ID}
	}
	return Position{Time: t.CreatedAt, ID: t.ID}
}

// Health is the condition of the place where a backend keeps tokens.
type Health struct {
	// Write is why the last change could not be written or the next can't be, or nil.
	Write error
	// Damaged is how many tokens can't be read. They are listed as damaged.
	Damaged int
	// Repairs are the repairs since the backend was opened.
	Repairs []Repair
	// Unrepaired is why damage could not be repaired, or nil.
	Unrepaired error
	// Size is how many bytes are in use, DiskFree how many more can be written, or -1 if
	// that is unknown.
	Size, DiskFree int64
}

// Repair is how damage was repaired.
type Repair struct {
	Time time.Time
	// Faults say what was wrong.
	Faults []string
	// Lost is what could not be read.
	Lost []Loss
	// Kept is where the damaged store is kept.
	Kept string
}

// Loss is something that could not be read.
type Loss struct {
	// Bucket is the kind of record, What which one.
	Bucket, What string
}
