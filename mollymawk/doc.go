// Package mollymawk is what the gate knows of Mollymawk's HTTP API: the routes
// that take a token, the scope each needs, what older and newer generations call
// them, and which answers mean that the gate's own token was refused. It is data
// for package gate, and nothing but data is needed for another backend.
//
// Source: robur-coop/mollymawk at 1c257b3 and its handbook. What would end Mollymawk, or
// make it lose data, is refused before it is asked; the rest is Mollymawk's to check.
package mollymawk
