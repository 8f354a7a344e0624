// Command bench measures what the gate costs, end to end and with the shipped code:
// Caddy with and without it, and beside it what else operators put in front of a
// backend. How, and how to read the table, is in docs/performance.md.
//
//	go run -C bench .                      # everything; takes about half an hour
//	go run -C bench . -slices 5            # a look, too short for a verdict
//	go run -C bench . -only respond/gate   # the rows whose name begins so
//	go run -C bench . -scale=false         # without the part about a million tokens
//	go run -C bench . -json bench.json -markdown bench.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	slices      int
	slice       time.Duration
	connections int
	tokens      int
	starts      int
	only        string
	pairs       bool
	scale       bool
	profiles    string
	json        string
	markdown    string
}

func main() {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
				os.Exit(1)
			}
			return
		}
	}
	var o options
	flag.IntVar(&o.slices, "slices", 31, "simultaneous slices of each row; fewer than 21 give no verdict")
	flag.DurationVar(&o.slice, "slice", time.Second, "how long a slice is")
	flag.IntVar(&o.connections, "connections", 16, "connections to each of the two servers")
	flag.IntVar(&o.tokens, "tokens", 1_000_000, "how many tokens the large store has")
	flag.IntVar(&o.starts, "starts", 7, "how often a Caddy is started with the large store")
	flag.StringVar(&o.only, "only", "", "measure the rows whose name begins so, with their controls")
	flag.BoolVar(&o.pairs, "pairs", true, "measure requests")
	flag.BoolVar(&o.scale, "scale", true, "measure a store with many tokens: its start, memory, changes")
	flag.StringVar(&o.profiles, "profiles", "",
		"write a profile of the processor time of each row's Caddy to this directory")
	flag.StringVar(&o.json, "json", "", "write all figures to this file")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables to this file, in Markdown")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "mollygate-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report := Report{Machine: describeMachine(), Begun: time.Now().UTC().Truncate(time.Second), Slices: o.slices,
		Slice: o.slice.String(), Connections: o.connections}
	fmt.Println(report.Machine)
	stores := &stores{dir: dir, filled: make(map[string]filledStore)}
	if o.scale { // first: it isn't kept on one processor
		if report.Scale, err = measureScale(ctx, o, stores); err != nil {
			return err
		}
	}
	if o.pairs {
		report.Pairs, err = measurePairs(ctx, o, stores)
	}
	report.Took = time.Since(report.Begun).Round(time.Second).String()
	return errors.Join(err, report.write(o)) // what there is, also after an error
}
