// Package tokenstore is the token domain: what a token looks like, when it is
// valid, who may hold it, what counts as a use, and the [Store] that answers
// for all of it. It knows no HTTP and no Caddy.
//
// # A token, as it lives
//
//	Draft ── Policy ──> Token + Secret             (the secret is shown once)
//	Token ── Backend.Apply ──> stored, with its audit line, in one transaction
//	Secret ── Parse ──> Credential                 (format and checksum, no state)
//	Credential ── Store.Authenticate ──> Match     (memory, else the backend once)
//	Match ── Store.CountAllowed ──> memory, folded into the backend in batches
//
// # Finding a token
//
// Tokens are found by the digest of the whole presented text, never by the id in
// it: digest, then id, then record. An unknown id, a known id with a wrong secret
// and a secret that is right in part differ in nothing but their digest, so they
// take the same way, and who presents them chooses neither a record nor a lock.
//
// # Concurrency
//
// A [Store] and everything it returns may be used by any number of goroutines.
// A [Token] that a Store handed out is never changed again: an edit publishes a
// new one. A change is in force when the call that made it returns: no
// [Store.Authenticate] that begins later sees the old state.
//
// # Memory
//
// Only tokens that have been used since the store was opened are in memory;
// opening it reads none.
package tokenstore
