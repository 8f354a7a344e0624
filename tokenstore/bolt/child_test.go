package bolt

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// child is a process of the test binary that does one of the jobs instead of testing. It
// writes its results as lines of JSON.
type child struct {
	*exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// newChild returns a child with a job. wrapper is a command that runs it, or nothing.
func newChild(t testing.TB, job string, spec any, wrapper ...string) *child {
	t.Helper()
	text, err := json.Marshal(spec)
	check(t, err)
	file := filepath.Join(t.TempDir(), "spec") // for the environment it may be too long
	check(t, os.WriteFile(file, text, fileMode))
	binary, err := os.Executable()
	check(t, err)
	command := append(wrapper, binary)
	c := &child{Cmd: exec.CommandContext(t.Context(), command[0], command[1:]...)}
	c.Env = append(os.Environ(), job+"="+file)
	c.Stderr = &c.stderr
	return c
}

// readSpec reads what newChild was given, in the child.
func readSpec(file string, spec any) {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, spec)
	}
	if err != nil {
		panic(err)
	}
}

// startChild starts a child with a job, whose lines are read with next.
func startChild(t testing.TB, job string, spec any) *child {
	t.Helper()
	c := newChild(t, job, spec)
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, 1<<20)
	return c
}

// next reads the next line into to. It returns false when there are no more. A line that
// a killed child left unfinished is none.
func (c *child) next(to any) bool {
	for c.lines.Scan() {
		if json.Unmarshal(c.lines.Bytes(), to) == nil {
			return true
		}
	}
	return false
}

// printLine writes a line of a child's results.
func printLine(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(os.Stdout, string(text)+"\n")
}

// firstLine returns what a child that ended in a fault said first.
func (c *child) firstLine() string {
	line, _, _ := bytes.Cut(c.stderr.Bytes(), []byte("\n"))
	return string(line)
}
