// Command firstrun starts the gate with Caddyfile.example, in front of a stand-in
// Mollymawk, and creates the first admin key and the first API key:
//
//	go run ./cmd/firstrun
//
// If MOLLYMAWK_URL and MOLLYMAWK_TOKEN are set, the gate uses the Mollymawk server that
// they specify instead of the stand-in. All data is stored in the .mollygate directory.
package main

import (
	"flag"
	"fmt"
	"os"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mollygate/mollygate"
	"github.com/mollygate/mollygate/internal/firstrun"
)

func main() {
	config := flag.String("config", "Caddyfile.example", "Caddyfile to run")
	dir := flag.String("dir", ".mollygate", "directory for data: the token store, Caddy's own data and the log")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "firstrun: unexpected argument %q\n", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	stderr := os.Stderr // Run redirects os.Stderr
	err := firstrun.Run(*config, *dir, os.Stdout)
	fmt.Fprintln(stderr, "firstrun:", err)
	os.Exit(1)
}
