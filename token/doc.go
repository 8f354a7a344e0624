// Package token defines tokens: their text and secret, state, expiry, scopes and limits, the
// operations that create, edit, rotate and revoke them, and their stored record. It performs
// no I/O and has no goroutines, clock or logger: callers pass times and random numbers.
// Package tokenstore stores tokens.
//
//	Policy.New(Draft) ──> Token            a requested token, checked against the configuration
//	Token.NewSecret   ──> Secret           shown once; the token stores its Digest
//	Prefixes.Parse    ──> Credential       checks a presented text's form and checksum
//	Policy.Edit, Policy.Rotate, Token.Revoke, Token.Disable, Token.Enable
//	EncodeToken, DecodeToken               the record that a backend stores
//
// A [Token] embeds its [Terms], which define what it allows. To add a restriction, add a field
// to Terms (terms.go), encode it in the record (record.go), and define its rules for drafts
// and edits (draft.go, edit.go). Nothing else lists the fields.
//
// A Token is immutable once a store has returned it. Several goroutines may use a value of
// this package if none of them changes the value.
package token
