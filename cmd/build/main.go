// Command build uses xcaddy's Go library to build Caddy as described in xcaddy.toml:
//
//	go run ./cmd/build [-f xcaddy.toml] [-o output]
//
// The comments in xcaddy.toml explain its keys.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/mollygate/mollygate/internal/xcaddybuild"
)

func main() {
	file := flag.String("f", "xcaddy.toml", "build manifest to read")
	output := flag.String("o", "", "file to write; overrides the manifest's output")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "build: unexpected argument %q: plugins are listed in %s\n", flag.Arg(0), *file)
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *file, *output)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file, output string) error {
	manifest, err := xcaddybuild.Load(file)
	if err != nil {
		return err
	}
	if output == "" {
		output = manifest.Output
	}
	return manifest.Build(ctx, output)
}
