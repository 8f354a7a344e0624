package tokenstore

import (
	"io"
	"iter"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Backend stores tokens. It doesn't enforce any rules; the [Store] does that. All methods are
// safe for concurrent use.
//
// Every error is, or wraps, [ErrNotFound], [token.ErrDamaged], [ErrTaken] or [ErrUnavailable].
// The Store treats any other error as ErrUnavailable, unless it came from a ChangeFunc. If
// Apply returns ErrUnavailable, the outcome is unknown: the backend may or may not have stored
// the change.
type Backend interface {
	// Token returns the token with the given ID. It must not wait for the network.
	Token(id token.ID) (*token.Token, error)
	// IDOf returns the ID of the token whose Digest or PreviousDigest equals digest. It must
	// not wait for the network, and its timing must not reveal how close digest is to a stored
	// one.
	IDOf(digest token.Digest) (token.ID, error)
	// Apply changes one token and adds the audit entry in a single transaction. It returns the
	// changed token. When Apply returns, the change is on disk. If Apply refuses the change,
	// everything the refusal depends on is on disk.
	//
	// Apply passes the stored token to change, or nil if there is none, and may call change
	// more than once. change must not modify the token. For a damaged token, Apply sets only
	// the ID and Damaged; a damaged token can only be deleted. If change returns an error,
	// Apply returns that error unmodified and stores nothing.
	//
	// The error is ErrTaken if another token has one of the digests, an [*EndedError] if the
	// change sets a Digest whose secret an earlier change ended, and ErrRepeated if the
	// change's request repeats a stored request. In all these cases Apply stores nothing.
	Apply(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error)
	// List calls yield for each token after the given position, in the given order or, if
	// descending is set, in reverse. It stops when yield returns false. For a damaged token,
	// only the ID, Damaged and the time used for sorting are set. yield must not call the
	// backend; it may retain the token.
	List(order Order, after *Position, descending bool, yield func(*token.Token) bool) error
	// Scan calls yield for each token with an ID greater than after, in ID order, together
	// with its saved usage, until yield returns false. For a damaged token, only the ID and
	// Damaged are set. The arguments passed to yield are valid only during the call. yield
	// must not call the backend.
	Scan(after token.ID, yield func(*token.Token, Usage) bool) error
	// Usage returns the usage that SaveUsage stored for the token, or a zero Usage if there is
	// none, together with the current FlushState. The usage includes at least the days from
	// first to last. Usage must not wait for the network. If the error is ErrDamaged, Usage
	// still returns the days that can be read.
	Usage(id token.ID, first, last Day) (Usage, FlushState, error)
	// Refusals returns the refusals that SaveUsage stored for the token, oldest first, together
	// with the current FlushState. Refusals that can't be read are left out.
	Refusals(id token.ID) ([]Refusal, FlushState, error)
	// Totals returns the saved usage of all tokens but admin tokens together, without scopes, on
	// the days from first to last. It includes the usage of tokens deleted since.
	Totals(first, last Day) ([]DayUsage, error)
	// SaveUsage adds each difference to a token's usage with [Usage.Plus], its days to the
	// totals, and its refusals to the token's refusals with [MergeRefusals], and stores the
	// state, all in one transaction. It ignores unknown IDs, so counts saved late don't bring
	// back a deleted token's usage. Usage that can't be read restarts from zero.
	SaveUsage(now time.Time, state FlushState, came iter.Seq2[token.ID, Usage]) error
	// JournalPath returns the path of the file that preserves unsaved counts when the process
	// ends, or "" if the backend can't provide one. The path never changes, and no other
	// process uses the file.
	JournalPath() string
	// Request returns the request stored under key, or ErrNotFound if there is none.
	Request(key token.Digest) (KeptRequest, error)
	// Audit calls yield for each audit entry, newest first, until yield returns false. If
	// before isn't nil, Audit starts with the entry before that position. It skips damaged
	// entries.
	Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error
	// Prune deletes a bounded number of records that are older than keep allows, and reports
	// whether more remain.
	Prune(keep Retention) (more bool, err error)
	// State returns the store's state.
	State() (State, error)
	// SetTimes stores the nonzero times in times and, unless entry is nil, adds it to the
	// audit log.
	SetTimes(times State, entry *AuditEntry) error
	// Health returns the health of the storage. It doesn't wait for the disk.
	Health() Health
	// Sequence returns the number of the last change written. Each change increases the
	// number, so a copy of the store made before a change has a lower number.
	Sequence() uint64
	// Compact frees the space used by deleted records and returns the store's size in bytes
	// before and after. Changes wait until Compact returns. A backend that can't compact its
	// storage returns [errors.ErrUnsupported].
	Compact() (before, after int64, err error)
	// Backup returns a snapshot of the whole store and its length in bytes. A slow reader does
	// not block writers.
	Backup() (content io.ReadCloser, length int64, err error)
	// Close waits for calls in progress. Later calls fail with ErrClosed.
	Close() error
}

// State is the data a store saves in addition to its tokens. Times are zero until they are
// set.
type State struct {
	// Recorded is the latest time passed to Apply or SaveUsage.
	Recorded time.Time
	// Elapsed is the elapsed time: a time that has definitely passed, even if the clock jumps.
	// It determines which records are old enough to delete.
	Elapsed time.Time
	// Announced is the time up to which expiry events have been published.
	Announced time.Time
	// BackedUp is when the last backup was made.
	BackedUp time.Time
	// Flush is the state passed to the last SaveUsage.
	Flush FlushState
	// Identity identifies the store and all its copies. 0 means unknown.
	Identity uint64
}

// Retention specifies what Prune retains. Older records are deleted.
type Retention struct {
	// Audit and Requests are the times of the oldest audit entry and idempotency request to
	// retain.
	Audit, Requests time.Time
	// Hours is the first day whose hourly counts are retained, and Days is the first day for
	// which any counts are retained. For the days in between, only daily sums are kept.
	Hours, Days Day
}

// ChangeFunc returns the change to make to a token. old is the stored token, or nil if there
// is none.
type ChangeFunc func(old *token.Token) (Change, error)

// Change is a change to one token.
type Change struct {
	// Token is the token after the change; nil deletes it.
	Token *token.Token
	Audit AuditEntry
	// If Request isn't nil, it is stored so that a repeat can be recognized.
	Request *KeptRequest
	// If Ended isn't nil, it is stored permanently. If its digest is already stored, the
	// earlier of the two times is kept. If EndsKnown is set, Ended is stored only if its
	// digest is already stored.
	Ended     *EndedSecret
	EndsKnown bool
}

// Order is a sort order for tokens. The cost of listing a page depends only on the page's
// length.
type Order uint8

const (
	// OrderCreated sorts by CreatedAt, then ID.
	OrderCreated Order = iota + 1
	// OrderExpires sorts by ExpiresAt, then ID. Tokens that never expire come last.
	OrderExpires
)

// Position is a token's position in an [Order]. The token need not exist.
type Position struct {
	// Time is the token's CreatedAt or ExpiresAt.
	Time time.Time
	ID   token.ID
}

// PositionOf returns the token's position in the order.
func (o Order) PositionOf(t *token.Token) Position {
	if o == OrderExpires {
		return Position{Time: t.ExpiresAt, ID: t.ID}
	}
	return Position{Time: t.CreatedAt, ID: t.ID}
}

// Health describes the health of a backend's storage.
type Health struct {
	// Write is the reason the last write failed or the next one would fail, or nil.
	Write error
	// Damaged is the number of tokens that can't be read. List returns them marked as damaged.
	Damaged int
	// Repairs lists the repairs made since the backend was opened.
	Repairs []Repair
	// Unrepaired is the reason damage could not be repaired, or nil.
	Unrepaired error
	// Size is the store's size in bytes. DiskFree is the number of bytes that can still be
	// written, or -1 if unknown.
	Size, DiskFree int64
}

// Repair describes how a damaged store was repaired.
type Repair struct {
	Time time.Time
	// Faults describes what was wrong.
	Faults []string
	// Lost lists the records that could not be read.
	Lost []Loss
	// Kept is the path where the damaged store was kept.
	Kept string
}

// Loss is a record that could not be read.
type Loss struct {
	// Bucket is the kind of record, and What identifies the record.
	Bucket, What string
}
