// Package command implements Mollygate's command line, "caddy api-token", as a client of the
// admin API. Each verb, or group of similar verbs, has its own file. Only check, repair and
// restore access a store's file directly, and only while no Caddy process is using it.
//
// [addVerbs] adds the verbs to Caddy's command. Each verb is a method of invocation, which
// holds the flags and the console. Errors that verbs return tell users what to do next, and
// the error's type determines the exit status.
package command
