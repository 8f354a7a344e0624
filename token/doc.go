// Package token is what a token is and what may happen to it: its text and its secret, its
// states, its expiry, scopes and limits, how it is made, edited, rotated and ended, and its
// record at rest. It has no I/O, no goroutines, no clock and no logger: times and random
// numbers are given to it. Package tokenstore keeps tokens.
//
//	Policy.New(Draft) ──> Token            what somebody asks for, held against the configuration
//	Token.NewSecret   ──> Secret           shown once; the token keeps its Digest
//	Prefixes.Parse    ──> Credential       of a presented text: form and checksum, no state
//	Policy.Edit, Policy.Rotate, Token.Revoke, Token.Disable, Token.Enable
//	EncodeToken, DecodeToken               the record that a backend keeps
//
// A [Token] embeds its [Terms], which are what it allows. A new restriction is a field of
// Terms (token.go), its place in the record (record.go), and its rule for drafts and edits
// (draft.go, edit.go); nothing else lists the fields.
//
// A Token is not changed once it was returned by a store. Everything here may be used by
// several goroutines as long as none changes it.
package token
