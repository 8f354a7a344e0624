// Package mollymawktest is a stand-in for Mollymawk: a server that behaves like the real
// one on the wire, with users, tokens, unikernels and block devices in memory.
//
//	backend := mollymawktest.New(t, mollymawktest.Options{})
//	token := backend.AddToken("alice", "gate", time.Hour)
//	… requests to backend.URL() …
//	for _, r := range backend.Requests() {
//		r.Values("Authorization")
//	}
//
// Texts, statuses and oddities match robur-coop/mollymawk at 1c257b3 (21 Aug 2026) and the
// software it builds on: H1 for HTTP, multipart_form for forms, ocaml-uri for targets,
// Yojson 3 for bodies, and albatross 961c4e3 for unikernels and blocks. Most were observed
// on the real programs; the others come from reading their source. [Generation2025]
// behaves like the versions before April 2026.
//
// # The wire
//
// The server doesn't use net/http, which can't imitate Mollymawk: Mollymawk responds to
// HEAD with a body, sends no Date, holds back the header of an event stream until the first
// event, ends streams by closing the connection, uses the last of several headers with the
// same name, and often sends no response at all. The server records the bytes of every
// connection and every request parsed from them, which reveals smuggled requests.
//
// # Truncated bodies
//
// The end of a connection (FIN) ends a body with a Content-Length, and a chunked body that
// is cut inside a chunk's data. Mollymawk treats what has arrived as complete: a forced
// create stops the running unikernel and then fails on the image, a block is overwritten
// with the data sent so far and zeros, and JSON that happens to be complete is processed.
// Between two chunks, the end of the connection doesn't end the body: the handler waits
// forever, a unikernel stays, and a block is partly overwritten. A connection reset (RST)
// inside a body, or a malformed chunk, ends the body and then crashes the process.
//
// # Crashes
//
// An uncaught exception crashes Mollymawk's process. The stand-in cuts all connections,
// abandons their requests, and continues with everything it has stored.
// [Server.Crashes] counts these crashes. Their causes are:
//
//   - malformed chunks, chunk extensions, trailers and connection resets, if the handler
//     responds afterwards
//   - a body held in memory that is longer than [Options.Memory], or whose announced
//     length is
//   - a number in JSON that isn't finite, if an error quotes it
//   - JSON nested 160,000 levels deep
//   - a unikernel_force_create that Mollymawk decodes to anything but true or false
//   - a second file in a form
//   - an update with a resolver whose port is negative or not a number
//   - a download with an unknown instance or an invalid label
//   - a download with a compression level from 1 to 9 that compresses to more than 4 KiB.
//     Mollymawk crashes on most of these and garbles the others; the stand-in always
//     crashes
//
// [Server.AlbatrossCrashes] counts crashes of albatross's daemon, caused by a compression
// level below 0 or above 9. The daemon restarts without losing anything, and the response
// is empty.
//
// # No response
//
// Malformed HTTP, a missing file part, a body that never ends and an upload larger than
// its device get no response. The connection stays open until the client closes it.
//
// # Downloads
//
// Downloads of a block are complete unless [Faults.ShortDownload] is set. Those from the
// real Mollymawk are usually short, and look like complete ones: they have status 200 and
// end with the connection. For a block that is in use or doesn't exist, the response is
// status 200 and nothing else.
//
// # Albatross
//
// Policies, block devices and images are checked in albatross's order and with its error
// texts; see [Policy] and [Image]. Users have the policy of [Options.Policy] unless
// [Server.SetPolicy] sets another one.
//
// # Limitations
//
// Pages have no content. Calls that only pages make authenticate the caller, read the body
// and change nothing, except for signing in and creating a token.
//
// The stand-in checks no certificates, sends no mail, runs no images and fetches nothing.
// An update succeeds for the jobs in [Options.Jobs]. Liveliness checks fail only for
// malformed addresses and names. An image is checked by its ELF sections and Solo5 notes, provided
// they are within 64 KiB of its start or end; an image for bhyve isn't checked. Policies
// aren't compared with the policies above them or with what is already running. The
// stand-in imitates neither the stale records that overlapping writes bring back in the
// real storage, nor the memory that unread bodies use. It accepts an upload that is cut
// shortly after a carriage return as complete; Mollymawk doesn't.
package mollymawktest
