// Command gate starts a gate to try out. Run it with go run ./cmd/firstrun, which compiles it
// and shows the progress. With the argument api-token, it is the command line for API keys.
//
// If MOLLYMAWK_URL and MOLLYMAWK_TOKEN are set, the gate uses the Mollymawk server that they
// specify instead of a stand-in.
//
// It imports only some of Caddy's modules, so that it compiles faster.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	_ "github.com/mollygate/mollygate"
	"github.com/mollygate/mollygate/caddymodule/command"
	"github.com/mollygate/mollygate/internal/firstrun"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "api-token" {
		caddy.CustomBinaryName, command.StartCommand = firstrun.Program, firstrun.Program
		caddycmd.Main()
		return
	}
	options := firstrun.Options{Out: os.Stdout}
	flags := flag.NewFlagSet("firstrun", flag.ExitOnError)
	flags.StringVar(&options.Config, "config", "Caddyfile.example", "Caddyfile to run")
	flags.StringVar(&options.Dir, "dir", "", "directory for data: the token store, Caddy's own data and the log "+
		"(default "+firstrun.DefaultDir+", or "+firstrun.DemoDir+" with -demo)")
	flags.BoolVar(&options.Demo, "demo", false,
		"fill an empty store with about 30 keys and an invented history of 120 days")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), firstrun.UsageBegin)
		flags.PrintDefaults()
		fmt.Fprint(flags.Output(), firstrun.UsageEnd)
	}
	_ = flags.Parse(os.Args[1:]) // exits after an error
	if flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "firstrun:", firstrun.Unexpected(flags.Args(), command.Names()))
		os.Exit(2)
	}
	stderr := os.Stderr // Run redirects os.Stderr
	err := firstrun.Run(options)
	fmt.Fprintln(stderr, "firstrun:", err)
	os.Exit(1)
}
