package tokenstore

import (
	"errors"
	"fmt"
)

// Errors returned by a store. Test for them with errors.Is.
var (
	// ErrNotFound means that no token has this ID or this secret. The two cases are
	// deliberately indistinguishable.
	ErrNotFound = errors.New("no such token")
	// ErrTaken means that another token already has the ID or the secret of a new one.
	ErrTaken = errors.New("another token already has this ID or this secret")
	// ErrUnavailable means that the store can't be read or written now.
	ErrUnavailable = errors.New("the token store is unavailable")
	// ErrCountsUnread is returned by [Store.CountsAtRisk] while the counts left by a killed
	// process can't be read. The store adds them as soon as it can read them.
	ErrCountsUnread = errors.New("the counts of an earlier process can't be read")
	// ErrOlder is returned by [Open] for a store that is older than its usage journal: someone
	// has replaced it with an older copy.
	ErrOlder = errors.New("the token store is older than its usage journal")
	// ErrReplaced means that the storage has been replaced while in use: its content is not
	// what the store has written. It wraps ErrUnavailable.
	ErrReplaced = fmt.Errorf("%w: its content was replaced while in use", ErrUnavailable)
	// ErrClosed means that the store has been closed. It wraps ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it has been closed", ErrUnavailable)
)
