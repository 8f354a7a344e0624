// Package command is the command line of Mollygate, "caddy api-token": a client of the
// admin API, with a file for each verb or for verbs that are alike. Only check and
// restore read the file of a store themselves, because no Caddy runs then.
//
// [addVerbs] hangs the verbs under Caddy's own command. A verb runs as an invocation,
// which has the flags and the console, and returns an error that says what to do next;
// the kind of the error is the exit status.
package command
