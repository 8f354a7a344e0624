// Package gate decides what happens to one request. It is given the facts of the
// request and returns a decision; it writes nothing and knows nothing of Caddy.
//
//	headers ──> TakeHeaders ──> Request ──> Gate.Decide ──> Decision
//	                                                          ├── Refusal
//	                                                          └── Route, Match ──> Forward
//	backend's answer ──> LookInto, Route.Judge ──> as it is, or a Refusal
//
// docs/errors.md explains each refusal.
//
// A [Gate] is made once of a configuration, is not changed afterwards, and may be
// used by any number of goroutines.
package gate
