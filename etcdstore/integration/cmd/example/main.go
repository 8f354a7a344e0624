//go:build unix

// Command example starts three gates that share their keys through three etcd members, and a
// load balancer in front of the gates, all on this machine:
//
//	go run -C etcdstore/integration ./cmd/example
//
// All of them are processes of their own, so that they can be killed. The example starts a
// process that has ended again after a while. Ctrl-C ends all of them. Compiled programs and
// data are in .mollygate-cluster in the checkout.
//
// It is in this module because it needs the etcd server, which the other modules don't.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mollygate/mollygate/internal/compile"
)

const (
	// defaultDir is the directory for programs and data, in the checkout.
	defaultDir = ".mollygate-cluster"
	// members and gates are the numbers of etcd members and gates.
	members = 3
	gates   = 3
	// startTimeout limits the time for all processes to become ready.
	startTimeout = 2 * time.Minute
)

func main() {
	dir := flag.String("dir", "", "`directory` for programs and data (default "+defaultDir+" in the checkout)")
	restart := flag.Duration("restart", 15*time.Second, "`time` after which a process that has ended is started again")
	flag.Parse()
	if err := run(*dir, *restart); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// run runs the example until a signal ends it.
func run(dir string, restart time.Duration) error {
	checkout, err := findCheckout()
	if err != nil {
		return err
	}
	if dir == "" {
		dir = filepath.Join(checkout, defaultDir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("locating the directory: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := build(checkout, dir); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &example{dir: dir, data: filepath.Join(dir, "data"), restart: restart}
	err = e.start(ctx)
	if err == nil {
		e.instructions()
		<-ctx.Done()
	}
	fmt.Println("\nStopping all processes …")
	e.stop()
	if ctx.Err() == nil {
		return fmt.Errorf("%w; the logs are in %s", err, e.data)
	}
	fmt.Printf("Stopped. Start again: go run -C etcdstore/integration ./cmd/example (with new keys)\n"+
		"Clean up:    rm -r %s\n", quote(dir))
	return nil
}

// findCheckout returns the directory of the checkout, which contains the working directory.
func findCheckout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the checkout: %w", err)
	}
	for {
		module, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(module), "module github.com/mollygate/mollygate\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("finding the checkout: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run this command in a checkout of Mollygate")
		}
		dir = parent
	}
}

// lock creates the directory and locks it, because two examples can't share it. The lock ends
// with the process.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("another example is running in %s: use that one, end it with Ctrl-C in its terminal, "+
			"or choose another directory with -dir", dir)
	}
	return func() { _ = file.Close() }, nil
}

// Names of the compiled programs.
const (
	caddyProgram   = "mollygate"
	memberProgram  = "etcdmember"
	standInProgram = "mollymawktest"
)

// build compiles the programs.
func build(checkout, dir string) error {
	small := []string{"-ldflags=-s -w"}
	program := func(module, pkg, name string) compile.Program {
		return compile.Program{Dir: filepath.Join(checkout, module), Package: pkg, Output: filepath.Join(dir, name),
			Flags: small}
	}
	return compile.Programs("Caddy with the etcd store, etcd and a stand-in for Mollymawk",
		program("etcdstore", "./cmd/mollygate", caddyProgram),
		program("etcdstore/integration", "./cmd/etcdmember", memberProgram),
		program("", "./mollymawk/mollymawktest/cmd/mollymawktest", standInProgram))
}
