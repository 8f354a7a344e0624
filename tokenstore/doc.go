// Package tokenstore keeps tokens: it makes changes durable, finds the token of a presented
// secret, counts uses and takes them from limits. What a token is and what may happen to it
// is in package token. It knows no HTTP and no Caddy.
//
//	Token ── Backend.Apply ──> stored, with its audit line, in one transaction
//	Credential ── Store.Authenticate ──> Match     (memory, else the backend once)
//	Match ── Store.TakeRate, Store.TakeQuota       (memory)
//	Match ── Store.CountAllowed ──> journal, saved by the backend in batches
//
// # Finding a token
//
// Tokens are found by the digest of the whole presented text, never by the id in
// it: digest, then id, then record. An unknown id, a known id with a wrong secret
// and a secret that is right in part differ in nothing but their digest, so they
// take the same way, and a client chooses neither a record nor a lock.
//
// # Concurrency
//
// A [Store] and everything it returns may be used by any number of goroutines.
// A token that a Store returned is never changed again. A change is in force when the call
// that made it returns: no [Store.Authenticate] that begins later sees the old state.
//
// # Counting
//
// Each counted request is an entry of a journal, which survives a killed process (package
// journal). A flush adds up what came to each token's usage since the last one, and saves
// these differences together with the journal's position, in one transaction. Open adds
// what is behind the saved position. So each request counts exactly once. What is promised:
//
//   - Against a killed process: everything, to the last request that was counted.
//   - Against a power cut: all that was saved.
//   - While the backend can't be written: no request is refused for that reason; counting
//     goes on in memory, and is saved when the backend can be written again.
//   - A clock that jumps back: see [Store.Now]. The last use never goes back.
//
// The series ([Store.Series]) has a count for each hour, scope and outcome. Hours are added
// up to days after a week, and days are removed after [Store.KeepHistory]. A day has at most
// maxDayCounts scopes and outcomes. Within that time, totals are the sum of the series.
//
// # Memory
//
// Only tokens that have been used since the store was opened are in memory; opening it
// reads none. Each is an entry without pointers, which a map finds by the digest. What
// tokens share is there once.
package tokenstore
