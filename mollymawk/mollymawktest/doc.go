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
// (21 Aug 2026) and of the libraries it is built on: H1 for HTTP, multipart_form for
// forms, ocaml-uri for targets, Yojson 3 for bodies, albatross 961c4e3 for what
// becomes of unikernels and blocks. Most were seen on the real programs; the rest was
// read in their source. [Generation2025] brings back what the versions before April
// 2026 did.
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
// # Bodies that break off
//
// The end of a connection (FIN) is the end of a body with a Content-Length, and of a
// chunked body that is cut within a chunk's data. What arrived is taken as the whole:
// a forced create ends the running unikernel and then fails on the image, a block is
// overwritten with the sent part and zeros, JSON that happens to be complete is
// carried out. Between two chunks the end of the connection ends nothing: the handler
// waits without end, a unikernel stays, and a block is overwritten in part. A
// connection that is reset (RST) in the middle of a body, and malformed chunks, end
// the body too, and then the process.
//
// # The end of the process
//
// An exception that nothing catches ends Mollymawk's process. Here, all connections
// are cut, what was under way for them is given up, and the server goes on with
// everything it has stored.
// [Server.Crashes] counts these. They come from
//
//   - malformed chunks, chunk extensions and trailers, and a reset, if the handler
//     answers afterwards
//   - a body that is held in memory and longer than [Options.Memory], or announced so
//   - a number in JSON that isn't finite, where an error quotes it
//   - JSON that is nested 160,000 deep
//   - a unikernel_force_create other than true and false, as Mollymawk decodes it
//   - a second file in a form
//   - a resolver in an update whose port is no number or negative
//   - a download that names an unknown instance, or something that is no label
//   - a download with a compression level from 1 to 9 of anything that doesn't
//     compress to 4 KiB. Mollymawk ends at most of these, and garbles the others; here
//     it always ends
//
// [Server.AlbatrossCrashes] counts what ends albatross' daemon: a compression level
// below 0 or above 9. It is restarted and loses nothing, and the answer is empty.
//
// # No answer
//
// Malformed HTTP, a missing file part, a body that never ends and an upload larger
// than its device are never answered; the connection stays open until the client
// closes it.
//
// # Downloads
//
// A download of a block is whole unless [Faults.ShortDownload] says otherwise; the
// real one is short more often than not, with status 200 and the end of the connection
// like a whole one. Of a block that is in use or doesn't exist comes status 200 and
// nothing else.
//
// # Albatross
//
// Policies, block devices and images are checked in albatross' order, with its texts:
// see [Policy] and [Image]. Users have the policy of [Options.Policy] unless
// [Server.SetPolicy] gave them another.
//
// # What it leaves out
//
// Pages have no content. The calls that only they make check who calls, read the body
// and change nothing, except for signing in and creating a token.
//
// No certificate is checked, no mail sent, no image run and nothing fetched: an
// update succeeds for the jobs in [Options.Jobs], and liveliness checks fail for an
// address that is none and when [Faults] says so. An image is judged by its ELF
// sections and Solo5's notes, which must be within 64 KiB of its ends to be seen; one
// for bhyve isn't looked at. Policies aren't compared with those above them or with
// what runs already. The stale records that overlapping writes of the real storage
// bring back are not imitated, nor the memory that unread bodies take, nor that an
// upload which is cut close behind a carriage return isn't taken as complete.
package mollymawktest
