package token

import "fmt"

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
