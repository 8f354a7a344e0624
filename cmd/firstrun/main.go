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
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
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
var buildFlags = []string{"-trimpath", "-buildvcs=false", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-w"}

func main() {
	program, err := compile()
	if err != nil {
		fmt.Fprintln(os.Stderr, "firstrun:", err)
		os.Exit(1)
	}
	os.Exit(run(program, os.Args[1:]))
}

// compile compiles the gate, unless it is up to date, and returns its path.
func compile() (string, error) {
	program := filepath.Join(directory, "gate")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("creating the data directory: %w", err)
	}
	stale, err := stalePackages()
	if err != nil {
		return "", err
	}
	command := goCommand(append(append([]string{"build", "-v"}, buildFlags...), "-o", program, pkg)...)
	output, err := command.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := command.Start(); err != nil {
		return "", fmt.Errorf("starting the compiler: %w", err)
	}
	progress := newProgress(stale)
	messages := progress.follow(output)
	if err := command.Wait(); err != nil {
		return "", fmt.Errorf("compiling failed: %w\n%s", err, messages)
	}
	return program, nil
}

// goCommand returns a call of the go command. Without cgo, there is less to compile and no need
// for a C compiler.
func goCommand(args ...string) *exec.Cmd {
	command := exec.CommandContext(context.Background(), "go", args...) //nolint:gosec // constant
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	return command
}

// stalePackages returns the number of packages to compile. It downloads missing modules.
func stalePackages() (int, error) {
	args := append(append([]string{"list", "-deps"}, buildFlags...), "-f", "{{if .Stale}}x{{end}}", pkg)
	command := goCommand(args...)
	command.Stderr = os.Stderr // shows downloads
	list, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("finding the packages to compile: %w; run this command in a checkout of Mollygate", err)
	}
	return len(strings.Fields(string(list))), nil
}

// progress shows how many packages have been compiled.
type progress struct {
	start       time.Time
	done, total int
	terminal    bool
	shown       time.Time
}

// few is the number of packages below which compiling is too quick to need a progress bar.
const few = 20

func newProgress(total int) *progress {
	info, err := os.Stderr.Stat()
	p := &progress{start: time.Now(), total: total,
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
	if total > few {
		fmt.Fprintf(os.Stderr, "Compiling Caddy and Mollygate: %d packages. "+
			"This takes a minute or two, but only once.\n", total)
	}
	return p
}

// follow reads the compiler's output until it ends. It returns everything but the names of
// packages.
func (p *progress) follow(output io.Reader) (messages string) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || strings.ContainsAny(line, " \t:") {
			messages += line + "\n"
			continue
		}
		p.done++
		p.show()
	}
	if p.terminal && p.total > few {
		fmt.Fprint(os.Stderr, "\r\x1b[K") // clears the line
	}
	return messages
}

func (p *progress) show() {
	const width = 40
	// Other output, such as a log, gets a line now and then.
	pause, end := 15*time.Second, "\n"
	if p.terminal {
		pause, end = 100*time.Millisecond, ""
	}
	now := time.Now()
	if p.total <= few || now.Sub(p.shown) < pause {
		return
	}
	p.shown = now
	done := min(p.done, p.total)
	full := width * done / p.total
	line := fmt.Sprintf("[%s%s] %d of %d, %s", strings.Repeat("#", full), strings.Repeat(".", width-full), done,
		p.total, now.Sub(p.start).Round(time.Second))
	if p.terminal {
		line = "\r" + line
	}
	fmt.Fprint(os.Stderr, line+end)
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
	err := command.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1) // -1 after a signal
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "firstrun:", err)
		return 1
	}
	return 0
}
