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
//	Match ── Store.CountAllowed ──> memory, saved by the backend in batches
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
// A [Token] that a Store handed out is never changed again. A change is in force when the call that made it returns: no
// [Store.Authenticate] that begins later sees the old state.
//
// # Counting
//
// Each count is a total since the token's creation, kept in memory, noted in the
// backend's [Counters], and saved by Flush every second. Of two records of a token's
// use the larger counts are right ([Usage.Larger]), so nothing is counted twice by
// saving it again or by a restart. What is promised:
//
//   - Against a killed process: the totals and the time of the last use, to the last
//     request that was counted, where the backend has Counters. The history, address,
//     agent and route may lose what wasn't saved.
//   - Against a power cut: all that was saved, so all but the last FlushInterval.
//   - While the backend can't be written: nothing is refused for it; totals go on in
//     memory and are saved when it can be written again.
//   - A clock that jumps back: see [Store.Now]. The last use never goes back. An hour
//     that is gone through twice, after [Store.AcceptClock], keeps the larger count.
//
// The history ([Store.Series]) has a count for each hour, scope and outcome: today's
// with the totals, and for each day that is over one record of the backend's, whose
// hours are added up after a week and which is removed after two years. A day has at
// most maxDayCounts scopes and outcomes.
//
// # Memory
//
// Only tokens that have been used since the store was opened are in memory;
// opening it reads none. Each is a record of two cache lines, found by two tables of
// numbers, with its name and what it shares with others beside it: no more than 200
// bytes, of which none is a pointer. A quota, a secret from before a rotation and the
// history of the last moments come on top; the latter is forgotten when it is saved,
// and read again when the token is used in another manner than before.
package tokenstore
