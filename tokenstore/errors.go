package tokenstore

import (
	"errors"
	"fmt"
)

// What a store can answer other than a token. Test with errors.Is.
var (
	// ErrNotFound says that no token has this id, or that nobody was ever given
	// this secret. The two can't be told apart on purpose.
	ErrNotFound = errors.New("no such token")
	// ErrTaken says that another token has the id or the secret of a new one.
	ErrTaken = errors.New("another token has this id or this secret")
	// ErrUnavailable says that the store can't answer now.
	ErrUnavailable = errors.New("the token store is unavailable")
	// ErrCountsUnread is returned by [Store.CountsAtRisk] while counts that a killed
	// process has left can't be read. They are added as soon as they can be read.
	ErrCountsUnread = errors.New("counts of an earlier process can't be read")
	// ErrOlder is returned by [Open] for a store that is older than its journal: an older
	// copy was put in its place.
	ErrOlder = errors.New("the token store is older than its journal")
	// ErrReplaced says that the place where the tokens are has another content than the store
	// has written. It is an ErrUnavailable.
	ErrReplaced = fmt.Errorf("%w: its content was replaced while in use", ErrUnavailable)
	// ErrClosed says that the store has been closed. It is an ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it has been closed", ErrUnavailable)
)
