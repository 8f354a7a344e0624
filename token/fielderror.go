package token

import "fmt"

// FieldError reports a field in a request that breaks a rule. Its text never contains a
// secret.
type FieldError struct {
	// Field is the field's name in the admin API.
	Field string
	// Rule states the rule or what is wrong with the value.
	Rule string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Rule }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Rule: fmt.Sprintf(format, args...)}
}
