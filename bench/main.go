// Command bench measures the end-to-end cost of the gate as shipped. It compares Caddy with
// and without the gate, and also measures alternatives that operators put in front of a
// backend. See docs/performance.md for the method and how to read the tables.
//
//	go run -C bench .                      # everything; takes about half an hour
//	go run -C bench . -slices 5            # quick, but too short for a verdict
//	go run -C bench . -only respond/gate   # rows whose names start with this prefix
//	go run -C bench . -scale=false         # without the large store
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

// options are the command-line flags.
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
	flag.IntVar(&o.slices, "slices", 31, "slices per row; a verdict requires at least 21")
	flag.DurationVar(&o.slice, "slice", time.Second, "duration of each slice")
	flag.IntVar(&o.connections, "connections", 16, "connections to each of the two servers")
	flag.IntVar(&o.tokens, "tokens", 1_000_000, "number of tokens in the large store")
	flag.IntVar(&o.starts, "starts", 7, "number of times to start Caddy with the large store")
	flag.StringVar(&o.only, "only", "", "measure only rows whose names start with this prefix, and their controls")
	flag.BoolVar(&o.pairs, "pairs", true, "measure requests")
	flag.BoolVar(&o.scale, "scale", true, "measure a store with many tokens: startup, memory and changes")
	flag.StringVar(&o.profiles, "profiles", "", "write a CPU profile of each row's Caddy to this directory")
	flag.StringVar(&o.json, "json", "", "write all figures to this file, as JSON")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables to this file, as Markdown")
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
	report := Report{Machine: describeMachine(), Started: time.Now().UTC().Truncate(time.Second),
		Slices: o.slices, Slice: o.slice.String(), Connections: o.connections}
	fmt.Println(report.Machine)
	stores := &stores{dir: dir, filled: make(map[string]filledStore)}
	if o.scale { // first, because measurePairs pins this process to one CPU
		if report.Scale, err = measureScale(ctx, o, stores); err != nil {
			return err
		}
	}
	if o.pairs {
		report.Pairs, err = measurePairs(ctx, o, stores)
	}
	report.Took = time.Since(report.Started).Round(time.Second).String()
	return errors.Join(err, report.write(o)) // after an error, write the partial report
}
