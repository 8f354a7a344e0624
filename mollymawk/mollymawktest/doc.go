// Package mollymawktest is a stand-in for Mollymawk: a server that behaves like the real
// one on the wire and keeps users, tokens, unikernels and block devices in memory.
//
//	backend := mollymawktest.New(t, mollymawktest.Options{})
//	token := backend.AddToken("alice", "gate", time.Hour)
//	… requests to backend.URL() …
//	for _, r := range backend.Requests() {
//		r.Values("Authorization")
//	}
//
// Its texts, statuses and quirks match robur-coop/mollymawk at 1c257b3 (21 Aug 2026) and
// the software it builds on: H1 for HTTP, multipart_form for forms, ocaml-uri for targets,
// Yojson 3 for bodies, and albatross 961c4e3 for unikernels and blocks. Most of this
// behavior was observed in the real programs; the rest comes from their source code.
// [Generation2025] behaves like the versions before April 2026.
//
// # The wire
//
// The server doesn't use net/http, which can't imitate Mollymawk: Mollymawk responds to
// HEAD with a body, sends no Date, sends an event stream's headers only with the first
// event, ends streams by closing the connection, uses the last of several headers with the
// same name, and often sends no response at all. The server records the bytes of every
// connection and every request parsed from them, which reveals smuggled requests.
//
// # Truncated bodies
//
// If a connection ends (FIN) within a body that has a Content-Length, or within a chunk's
// data, Mollymawk treats the data received so far as the complete body. A forced create
// stops the running unikernel and then fails on the image, a block is overwritten with the
// received data and zeros, and JSON that happens to be complete is processed. If a
// connection ends between two chunks, the body doesn't end: the handler waits forever, a
// unikernel keeps running, and a block is left partly overwritten. A connection reset (RST)
// inside a body ends the body and then crashes the process, as does a malformed chunk.
//
// # Crashes
//
// An uncaught exception crashes Mollymawk's process. The stand-in cuts all connections,
// abandons their requests, and continues with the data that it has stored. [Server.Crashes]
// counts these crashes. Their causes are:
//
//   - malformed chunks, chunk extensions, trailers and connection resets, if the handler
//     responds afterwards
//   - a body held in memory whose actual or announced length exceeds
//     [Options.Memory]
//   - a JSON number that isn't finite, if an error quotes it
//   - JSON nested 160,000 levels deep
//   - a unikernel_force_create that Mollymawk decodes as anything but true or false
//   - a second file in a form
//   - an update with a resolver whose port is negative or not a number
//   - a download with an unknown instance or an invalid label
//   - a download with a compression level from 1 to 9 that compresses to more than 4 KiB.
//     Mollymawk crashes on most of these and garbles the others; the stand-in always
//     crashes
//
// [Server.AlbatrossCrashes] counts crashes of albatross's daemon, caused by a compression
// level below 0 or above 9. The daemon restarts without losing data, and the response is
// empty.
//
// # No response
//
// Mollymawk doesn't respond to malformed HTTP, a form without its file, a body that never
// ends, or an upload larger than the device. The connection stays open until the client
// closes it.
//
// # Downloads
//
// Block downloads are complete unless [Faults.ShortDownload] is set. Downloads from the
// real Mollymawk are usually truncated but look complete: they have status 200 and end when
// the connection closes. For a block that is in use or doesn't exist, the response has
// status 200 and an empty body.
//
// # Albatross
//
// The stand-in checks policies, block devices and images in the same order as albatross and
// with the same error texts; see [Policy] and [Image]. A user's policy is [Options.Policy]
// unless [Server.SetPolicy] sets another one.
//
// # Limitations
//
// Pages have no content. For calls that only pages make, the stand-in authenticates the
// caller and reads the body, but changes nothing. Signing in and creating tokens are the
// exceptions.
//
// The stand-in checks no certificates, sends no mail, runs no images and fetches nothing.
// Updates succeed for the jobs in [Options.Jobs]. Liveliness checks fail only for malformed
// addresses and names. The stand-in checks an image's ELF sections and Solo5 notes if they
// are within 64 KiB of the image's start or end; it doesn't check bhyve images. It doesn't
// compare policies with their parent policies or with what is already running. It imitates
// neither the stale records that overlapping writes restore in the real storage, nor the
// memory that unread bodies use. Unlike Mollymawk, it treats an upload that is cut off
// shortly after a carriage return as complete.
package mollymawktest
