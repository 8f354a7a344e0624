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

// child is a process that runs the test binary to do one of the jobs. It prints its results as
// lines of JSON.
type child struct {
	*exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// newChild returns a child for a job. If wrapper isn't empty, that command runs the child.
func newChild(t testing.TB, job string, spec any, wrapper ...string) *child {
	t.Helper()
	text, err := json.Marshal(spec)
	check(t, err)
	file := filepath.Join(t.TempDir(), "spec") // the spec may be too long for an environment variable
	check(t, os.WriteFile(file, text, fileMode))
	binary, err := os.Executable()
	check(t, err)
	command := append(wrapper, binary)
	c := &child{Cmd: exec.CommandContext(t.Context(), command[0], command[1:]...)}
	c.Env = append(os.Environ(), job+"="+file)
	c.Stderr = &c.stderr
	return c
}

// readSpec runs in the child and reads the spec passed to newChild.
func readSpec(file string, spec any) {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, spec)
	}
	if err != nil {
		panic(err)
	}
}

// startChild starts a child for a job. The caller reads its results with next.
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

// next decodes the next line into to. It skips incomplete lines from a killed child and
// returns false when there are no more lines.
func (c *child) next(to any) bool {
	for c.lines.Scan() {
		if json.Unmarshal(c.lines.Bytes(), to) == nil {
			return true
		}
	}
	return false
}

// printLine prints one line of a child's results.
func printLine(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(os.Stdout, string(text)+"\n")
}

// firstLine returns the first line that a child wrote to its standard error.
func (c *child) firstLine() string {
	line, _, _ := bytes.Cut(c.stderr.Bytes(), []byte("\n"))
	return string(line)
}
