// Package compile compiles programs of this repository and shows the progress. It uses only the
// standard library, so that commands that import it start quickly with "go run".
package compile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Program is a program to compile.
type Program struct {
	// Dir is the directory of the Go module, or "" for the working directory.
	Dir string
	// Package is the import path of the program's main package.
	Package string
	// Output is the path of the compiled program. It is relative to Dir.
	Output string
	// Flags are the flags of go build, in addition to those that all programs have.
	Flags []string
	// Env is added to the environment.
	Env []string
}

// Programs compiles programs, one after another, unless they are up to date. what describes them
// to the user. The progress is written to standard error.
func Programs(what string, programs ...Program) error {
	total := 0
	for _, p := range programs {
		stale, err := p.stale()
		if err != nil {
			return err
		}
		total += stale // packages that two programs have in common count twice
	}
	progress := newProgress(what, total)
	defer progress.end()
	for _, p := range programs {
		if err := p.build(progress); err != nil {
			return err
		}
	}
	return nil
}

// command returns a call of the go command.
func (p Program) command(verb string, args ...string) *exec.Cmd {
	args = append(append([]string{verb, "-trimpath", "-buildvcs=false"}, p.Flags...), args...)
	command := exec.CommandContext(context.Background(), "go", append(args, p.Package)...) //nolint:gosec // constant
	command.Dir = p.Dir
	command.Env = append(command.Environ(), p.Env...)
	return command
}

// stale returns the number of packages to compile. It downloads missing modules.
func (p Program) stale() (int, error) {
	command := p.command("list", "-deps", "-f", "{{if .Stale}}x{{end}}")
	command.Stderr = os.Stderr // shows downloads
	list, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("finding the packages to compile: %w; run this command in a checkout of Mollygate", err)
	}
	return len(strings.Fields(string(list))), nil
}

func (p Program) build(progress *progress) error {
	command := p.command("build", "-v", "-o", p.Output)
	output, err := command.StderrPipe()
	if err != nil {
		return fmt.Errorf("starting the compiler: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the compiler: %w", err)
	}
	messages := progress.follow(output)
	if err := command.Wait(); err != nil {
		return fmt.Errorf("compiling failed: %w\n%s", err, messages)
	}
	return nil
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

func newProgress(what string, total int) *progress {
	info, err := os.Stderr.Stat()
	p := &progress{start: time.Now(), total: total,
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
	if total > few {
		fmt.Fprintf(os.Stderr, "Compiling %s: %d packages.\nThis takes a minute or two, but only once.\n", what, total)
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
	return messages
}

// end clears the progress bar.
func (p *progress) end() {
	if p.terminal && p.total > few {
		fmt.Fprint(os.Stderr, "\r\x1b[K") // clears the line
	}
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
