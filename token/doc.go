// Package token defines tokens and what can happen to them: their text and secret, state,
// expiry, scopes and limits, how they are created, edited, rotated and revoked, and their
// stored record. It has no I/O, goroutines, clock or logger: callers pass times and random
// numbers. Package tokenstore stores tokens.
//
//	Policy.New(Draft) ──> Token            a requested token, checked against the configuration
//	Token.NewSecret   ──> Secret           shown once; the token stores its Digest
//	Prefixes.Parse    ──> Credential       of a presented text: form and checksum, no state
//	Policy.Edit, Policy.Rotate, Token.Revoke, Token.Disable, Token.Enable
//	EncodeToken, DecodeToken               the record that a backend stores
//
// A [Token] embeds its [Terms], which define what it allows. A new restriction is a field of
// Terms (terms.go), its field in the record (record.go), and its rules for drafts and edits
// (draft.go, edit.go); nothing else lists the fields.
//
// A Token is immutable once a store has returned it. Several goroutines may use any value of
// this package as long as none of them changes it.
package token
