// Command firstrun starts the gate with the configuration of Caddyfile.example,
// in front of a stand-in Mollymawk, and makes a first admin token and a first API
// token:
//
//	go run ./cmd/firstrun
//
// With MOLLYMAWK_URL and MOLLYMAWK_TOKEN in the environment it stands in front of
// that Mollymawk instead. What it keeps is in the directory .mollygate.
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
	dir := flag.String("dir", ".mollygate", "directory for what is kept: the tokens, Caddy's own data, the log")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "firstrun: unexpected argument %q\n", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	stderr := os.Stderr
	err := firstrun.Run(*config, *dir, os.Stdout)
	fmt.Fprintln(stderr, "firstrun:", err)
	os.Exit(1)
}
