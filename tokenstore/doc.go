// Package tokenstore stores tokens: it makes changes durable, finds the token that a secret
// belongs to, counts requests and enforces limits. Package token defines tokens and the
// rules for changing them. This package depends on neither HTTP nor Caddy.
//
//	Token ── Backend.Apply ──> stored with its audit entry, in one transaction
//	Credential ── Store.Authenticate ──> Match     (from memory, or once from the backend)
//	Match ── Store.TakeRate, Store.TakeQuota       (in memory)
//	Match ── Store.CountAllowed ──> usage journal, saved to the backend in batches
//
// # Finding a token
//
// The store looks up a token by the digest of the entire secret, never by the ID inside it.
// The digest maps to the ID, and the ID maps to the record. An unknown ID, a known ID with a
// wrong secret and a partly correct secret differ only in their digests, so they all take the
// same code path. A client can't choose which record is read or which lock is taken.
//
// # Concurrency
//
// A [Store] and all values it returns are safe for concurrent use. A Store never modifies a
// token after returning it. A change takes effect before the call returns, so no later
// [Store.Authenticate] sees the old state.
//
// # Counting
//
// Each counted request becomes an entry in the usage journal, which survives even if the
// process is killed (see package journal). A flush adds up the entries since the last flush
// and saves the sums together with the journal's position in one transaction. Open adds the
// entries after the saved position. Each request therefore counts exactly once. The store
// guarantees the following:
//
//   - If the process is killed, no counts are lost.
//   - After a power failure, all saved counts are preserved.
//   - While the backend can't be written, no request is refused for that reason. Counting
//     continues in memory, and the counts are saved when the backend can be written again.
//   - If the clock jumps back, [Store.Now] does not. The time of the last use never goes
//     back either.
//
// The series ([Store.Series]) contains one count per hour, scope and outcome. After a week,
// hourly counts are merged into daily counts. [Store.KeepHistory] sets how long daily counts
// are kept. A day has at most maxDayCounts combinations of scope and outcome. If no history
// has been deleted yet, a token's totals equal the sums of its series.
//
// # Memory
//
// Only tokens used since the store was opened are in memory; opening the store doesn't read
// any tokens. Each token in memory is an entry without pointers, which is looked up by the
// token's digest. Data shared by several tokens is stored only once.
package tokenstore
