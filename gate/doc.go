// Package gate decides what happens to one request. It is given the facts of the
// request and returns a decision; it writes nothing and knows nothing of Caddy.
//
//	headers ──> TakeHeaders ──> Request ──> Gate.Decide ──> Decision
//	                                                          ├── Refusal
//	                                                          └── Route, Match ──> Forward
//	backend's answer ──> MustBuffer, Route.Judge ──> as it is, or a Refusal
//
// A [Gate] is made once of a configuration, is not changed afterwards, and may be used by
// any number of goroutines. docs/errors.md explains each refusal.
//
//   - A backend is a [Table] of routes, which its package registers with [RegisterTable].
//   - [Gate.Decide] makes all checks. While a request is under way, [Gate.Recheck] and
//     [Gate.RecheckMatch] repeat those whose outcome changes with the token, and
//     [Gate.Explain] makes them for a question. All use the same checks.
//   - [TakeHeaders], [DropTokens] and [RemoveSessionCookies] clean what the client sent;
//     [Gate.Forward], [SetUpgrade], [SendOnce] and [SetPath] make what the backend gets.
//   - [Gate.Adapt] and [Gate.AdaptUpload] check a body, as the route's table says.
//   - [ScrubHeaders] and [Redact] keep the backend's token from the client.
package gate
