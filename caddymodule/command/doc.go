// Package command implements Mollygate's command line, "caddy api-token", as a client of the
// admin API. Each verb, or group of similar verbs, has its own file. Only check, repair and
// restore access a store's file directly, because no Caddy is using that file.
//
// [addVerbs] adds the verbs to Caddy's command. A verb runs as a method of invocation, which
// holds the flags and the console. It returns an error that tells people what to do next; the
// type of the error determines the exit status.
package command
