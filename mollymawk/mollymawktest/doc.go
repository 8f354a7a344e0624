// Package mollymawktest is a stand-in for Mollymawk: a server that speaks its
// HTTP API on the wire as the real one does, with users, tokens, unikernels and
// block devices in memory.
//
//	backend := mollymawktest.New(t, mollymawktest.Options{})
//	token := backend.AddToken("alice", "gate", time.Hour)
//	… requests to backend.URL() …
//	for _, r := range backend.Requests() {
//		r.Values("Authorization")
//	}
//
// The texts, statuses and oddities are those of robur-coop/mollymawk at 1c257b3
// (21 Aug 2026) and of the libraries it stands on: H1 for HTTP, ocaml-uri for
// targets, Yojson for bodies, albatross for what becomes of unikernels and
// blocks. [Generation2025] brings back what the versions before April 2026 did.
//
// # The wire
//
// The server doesn't use net/http, which can't do what Mollymawk does: it
// answers HEAD with a body, sends no Date, holds the header of an event stream
// back until the first event, ends streams with the connection, takes the last
// of several headers of a name, and often gives no answer at all. The bytes of
// every connection and every request parsed from them are recorded, so that a
// request which only the backend sees shows up.
//
// # No answer
//
// Malformed HTTP, a missing file part and an upload that breaks off are never
// answered; the connection stays open until the client closes it. What raises an
// exception in Mollymawk, and there ends the process, closes the connection here
// and is counted by [Server.Crashes].
//
// # What it leaves out
//
// No certificate is checked, no mail sent, no image run and nothing fetched: an
// update succeeds for the jobs in [Options.Jobs], and liveliness checks fail when
// [Faults] says so. The stale records that overlapping writes of the real storage
// bring back are not imitated.
package mollymawktest
