// Package e2e holds tests that cross the rooms of the house: they run a real Caddy
// with Mollygate in it as a process of its own, with a stand-in Mollymawk behind
// it and curl before it.
package e2e
