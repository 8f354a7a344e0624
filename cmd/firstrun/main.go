// Command firstrun compiles and starts a gate to try out, in front of a stand-in for Mollymawk:
//
//	go run ./cmd/firstrun
//
// It shows its progress, because compiling Caddy takes a minute or more the first time. The
// compiled program is stored in the .mollygate directory, which is also the default for the
// gate's data. The arguments are those of the gate; see the package gate below this one. In
// particular,
//
//	go run ./cmd/firstrun api-token list
//
// runs the command line in another terminal, without compiling anything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/mollygate/mollygate/internal/compile"
)

const (
	// pkg is the program to compile. It imports only the parts of Caddy that it needs.
	pkg = "github.com/mollygate/mollygate/cmd/firstrun/gate"
	// directory is where the program is stored. Without -demo and -dir, the gate stores its data
	// there too.
	directory = ".mollygate"
)

// buildFlags turn off optimizations, which shortens compiling by about a quarter. The program is
// slower, but fast enough to try out.
var buildFlags = []string{"-gcflags=all=-N -l -dwarf=false", "-ldflags=-w"}

func main() {
	path, err := program()
	if err != nil {
		fmt.Fprintln(os.Stderr, "firstrun:", err)
		os.Exit(1)
	}
	os.Exit(run(path, os.Args[1:]))
}

// program compiles the gate, unless it is up to date, and returns its path.
func program() (string, error) {
	path := filepath.Join(directory, "gate")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("creating the data directory: %w", err)
	}
	// Without cgo, there is less to compile and no need for a C compiler.
	return path, compile.Programs("Caddy and Mollygate", compile.Program{Package: pkg, Output: path, Flags: buildFlags,
		Env: []string{"CGO_ENABLED=0"}})
}

// run runs the program and returns its exit code.
func run(program string, args []string) int {
	command := exec.CommandContext(context.Background(), program, args...) //nolint:gosec // just compiled
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	// A terminal sends Ctrl-C to both processes. Other signals have to be passed on.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := command.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "firstrun:", err)
		return 1
	}
	go func() {
		for s := range signals {
			if s != os.Interrupt {
				_ = command.Process.Signal(s) // fails if the process has ended
			}
		}
	}()
	return exitCode(command.Wait())
}

// exitCode returns the exit code for the result of the program. It explains what the program can't
// explain itself.
func exitCode(err error) int {
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0
	case !ended:
		fmt.Fprintln(os.Stderr, "firstrun:", err)
	case exit.Exited():
		return exit.ExitCode()
	default:
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && status.Signal() == syscall.SIGKILL { // others, such as Ctrl-C, come from the user
			fmt.Fprintln(os.Stderr, "firstrun: the program was killed. What it stored is kept. "+
				"To go on, run the same command again.")
		}
	}
	return 1
}
