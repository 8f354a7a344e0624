package tokenstore

import (
	"errors"
	"fmt"
)

// Errors returned by a Store. Test for them with errors.Is.
var (
	// ErrNotFound means that no token has the given ID or secret. By design, callers can't
	// tell the two cases apart.
	ErrNotFound = errors.New("no such token")
	// ErrTaken means that another token already has the new token's ID or secret.
	ErrTaken = errors.New("another token already has this ID or secret")
	// ErrUnavailable means that the store currently can't be read or written.
	ErrUnavailable = errors.New("the token store is unavailable")
	// ErrCountsUnread is returned by [Store.CountsAtRisk] while the counts left by a killed
	// process can't be read. The store adds these counts as soon as it can read them.
	ErrCountsUnread = errors.New("the counts of an earlier process can't be read")
	// ErrOlder is returned by [Open] for a store that is older than its usage journal, because
	// someone replaced the store with an older copy.
	ErrOlder = errors.New("the token store is older than its usage journal")
	// ErrReplaced means that the storage was replaced while in use: its content is not what
	// the store wrote. It wraps ErrUnavailable.
	ErrReplaced = fmt.Errorf("%w: its content was replaced while in use", ErrUnavailable)
	// ErrClosed means that the store has been closed. It wraps ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it has been closed", ErrUnavailable)
)
