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
	// ErrDamaged says that the token's record should be there and isn't, fails its
	// checksum, can't be read or isn't the newest. The token must be treated as
	// unusable, never as unknown.
	ErrDamaged = errors.New("the token's record is damaged")
	// ErrTaken says that another token has the id or the secret of a new one.
	ErrTaken = errors.New("another token has this id or this secret")
	// ErrUnavailable says that the store can't answer now.
	ErrUnavailable = errors.New("the token store is unavailable")
	// ErrCountsUnread is returned by [Store.CountsAtRisk] while counts that a killed
	// process has left can't be read. They are added as soon as they can be read.
	ErrCountsUnread = errors.New("counts of an earlier process can't be read")
	// ErrClosed says that the store has been closed. It is an ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it has been closed", ErrUnavailable)
)

// FieldError says which field of a request breaks which rule. Its text never
// repeats a secret.
type FieldError struct {
	// Field is the field's name in the admin API.
	Field string
	// Rule says what the field must be.
	Rule string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Rule }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Rule: fmt.Sprintf(format, args...)}
}
