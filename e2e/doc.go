// Package e2e tests Mollygate end to end. The tests run a real Caddy with Mollygate as a
// separate process, with a stand-in for Mollymawk as the backend and curl as the client.
package e2e
