// Package gate decides what happens to a request. It takes facts about the request and returns
// a decision; it performs no I/O and doesn't depend on Caddy.
//
//	headers ──> TakeHeaders ──> Request ──> Gate.Decide ──> Decision
//	                                                          ├── Refusal
//	                                                          └── Route, Match ──> Forward
//	backend's response ──> MustBuffer, Route.Judge ──> passed on unchanged, or a Refusal
//
// A [Gate] is built once from a configuration and never changes. Any number of goroutines may
// use it. docs/errors.md explains each refusal.
//
//   - A backend is a [Table] of routes, which its package registers with [RegisterTable].
//   - [Gate.Decide] runs all checks. While a request is in progress, [Gate.Recheck] and
//     [Gate.RecheckMatch] repeat the checks that depend on the token's state. [Gate.Explain]
//     runs all checks for a hypothetical request. All of these methods share the same code.
//   - [TakeHeaders] and [RemoveSessionCookies] sanitize what the client sent;
//     [Gate.Forward], [SetUpgrade], [PreventRetries] and [SetPath] prepare what the backend
//     receives.
//   - [Gate.Adapt] and [Gate.AdaptUpload] check a body as the route's table requires.
//   - [UpstreamToken] keeps the backend's own token from the client.
package gate
