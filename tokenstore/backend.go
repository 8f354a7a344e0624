package tokenstore

import (
	"io"
	"iter"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Backend stores tokens. It enforces no rules; the [Store] does. All methods are safe for
// concurrent use.
//
// An error is or wraps [ErrNotFound], [token.ErrDamaged], [ErrTaken] or [ErrUnavailable]. The
// Store treats any other error as ErrUnavailable, except an error from a ChangeFunc. If Apply
// returns ErrUnavailable, the outcome is unknown: the backend may or may not have stored the
// change.
type Backend interface {
	// Token returns the token with the given ID. It must not wait for the network.
	Token(id token.ID) (*token.Token, error)
	// IDOf returns the ID of the token that has the digest as its Digest or PreviousDigest. It
	// must not wait for the network, and its timing must not reveal whether the digest is
	// close to a token's.
	IDOf(digest token.Digest) (token.ID, error)
	// Apply changes one token and adds the audit entry in a single transaction, and returns
	// the token after the change. When Apply returns, the change is on disk; if it is refused,
	// so is everything the refusal depends on.
	//
	// Apply passes the stored token to change, or nil if there is none, and may call change
	// more than once. change must not modify the token. For a damaged token Apply sets only
	// the ID and Damaged; such a token can only be deleted. Apply returns an error from change
	// unmodified, without storing anything.
	//
	// The error is ErrTaken if another token has one of the digests, an [*EndedError] if the
	// token's Digest is new and an earlier change ended it, and ErrRepeated if the change's
	// request repeats a stored one. In these cases Apply stores nothing.
	Apply(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error)
	// List calls yield for each token in the order, starting after the position and going
	// backwards if descending is set, until yield returns false. For a damaged token only the
	// ID, Damaged and the time of its position are set. yield must not call the backend; it
	// may retain the token.
	List(order Order, after *Position, descending bool, yield func(*token.Token) bool) error
	// Scan calls yield for each token with an ID greater than after, in ID order, together
	// with its saved usage, until yield returns false. For a damaged token only the ID and
	// Damaged are set. The arguments of yield are valid only during the call. yield must not
	// call the backend.
	Scan(after token.ID, yield func(*token.Token, Usage) bool) error
	// Usage returns the usage that SaveUsage stored for the token, or a zero Usage if there is
	// none, together with the FlushState at that moment. The usage includes at least the days
	// from first to last. Usage must not wait for the network. If the error is ErrDamaged, it
	// returns the days that can be read.
	Usage(id token.ID, first, last Day) (Usage, FlushState, error)
	// SaveUsage adds each difference to a token's usage with [Usage.Plus] and stores the
	// state, all in one transaction. It ignores unknown IDs, so counts that are saved late
	// don't restore anything of a deleted token. Usage that can't be read starts over from
	// zero.
	SaveUsage(now time.Time, state FlushState, came iter.Seq2[token.ID, Usage]) error
	// JournalPath returns the path of the file in which unsaved counts survive the process, or
	// "" if the backend has no place for it. The path never changes, and no other process uses
	// the file.
	JournalPath() string
	// Request returns the request stored under a key, or ErrNotFound.
	Request(key token.Digest) (KeptRequest, error)
	// Audit calls yield for each entry of the audit log, newest first, starting before the
	// position if it isn't nil, until yield returns false. It skips damaged entries.
	Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error
	// Prune deletes a bounded number of records that fall outside the retention, and reports
	// whether there are more.
	Prune(keep Retention) (more bool, err error)
	// State returns the state of the store.
	State() (State, error)
	// SetTimes stores the nonzero times of a State, and adds the entry to the audit log unless
	// it is nil.
	SetTimes(times State, entry *AuditEntry) error
	// Health returns the health of the storage. It doesn't wait for a disk.
	Health() Health
	// Sequence returns the number of the last change written. Each change increases it, so a
	// copy of the store made before a change has a lower number.
	Sequence() uint64
	// Compact frees the space of deleted records and returns the size of the store in bytes
	// before and after. Changes wait until it is done. A backend that doesn't support it
	// returns [errors.ErrUnsupported].
	Compact() (before, after int64, err error)
	// Backup returns a copy of the whole store as it is now, and its length in bytes. A slow
	// reader does not block writers.
	Backup() (content io.ReadCloser, length int64, err error)
	// Close waits for calls in progress. Later calls fail with ErrClosed.
	Close() error
}

// State is what a store remembers besides its tokens. Times are zero until they are set.
type State struct {
	// Recorded is the latest time passed to Apply or SaveUsage.
	Recorded time.Time
	// Elapsed is the elapsed time: the time that is known to have been reached, however the
	// clock jumps. Old records are deleted by it.
	Elapsed time.Time
	// Announced is the time up to which expiry events have been published.
	Announced time.Time
	// Flush is the state passed to the last SaveUsage.
	Flush FlushState
	// Identity identifies the store. Its copies share the identity. 0 means unknown.
	Identity uint64
}

// Retention specifies what Prune retains. Older records are deleted.
type Retention struct {
	// Audit and Requests are the times of the oldest audit entry and idempotency request to
	// retain.
	Audit, Requests time.Time
	// Hours is the first day to retain hour by hour, and Days the first day to retain at all.
	// The hours of days between them are added up.
	Hours, Days Day
}

// ChangeFunc returns the change to make to a token. old is nil if there is no such token.
type ChangeFunc func(old *token.Token) (Change, error)

// Change is a change to one token.
type Change struct {
	// Token is the token after the change; nil deletes it.
	Token *token.Token
	Audit AuditEntry
	// Request, unless it is nil, is stored to recognize a repeat.
	Request *KeptRequest
	// Ended, unless it is nil, is stored permanently. If its digest is already stored, the
	// earlier time wins. If EndsKnown is set, Ended is stored only if its digest is already
	// stored.
	Ended     *EndedSecret
	EndsKnown bool
}

// Order is a sort order of tokens. The cost of a page in an Order depends only on the length
// of the page.
type Order uint8

const (
	// OrderCreated sorts by CreatedAt, then ID.
	OrderCreated Order = iota + 1
	// OrderExpires sorts by ExpiresAt, then ID. Tokens that never expire come last.
	OrderExpires
)

// Position is the position of a token in an [Order]. The token need not exist.
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
	// Write is the reason that the last change could not be written or the next one can't be,
	// or nil.
	Write error
	// Damaged is the number of tokens that can't be read. They are listed as damaged.
	Damaged int
	// Repairs lists the repairs made since the backend was opened.
	Repairs []Repair
	// Unrepaired is the reason that damage could not be repaired, or nil.
	Unrepaired error
	// Size is the number of bytes in use. DiskFree is the number of bytes that can still be
	// written, or -1 if unknown.
	Size, DiskFree int64
}

// Repair describes a repair of damage.
type Repair struct {
	Time time.Time
	// Faults describes what was wrong.
	Faults []string
	// Lost lists the records that could not be read.
	Lost []Loss
	// Kept is the path of the damaged store.
	Kept string
}

// Loss is a record that could not be read.
type Loss struct {
	// Bucket is the kind of record, and What identifies the record.
	Bucket, What string
}
