package bolt

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// sysCall is a system call logged by strace with straceOptions.
type sysCall struct {
	name string
	// path is the file that the descriptor in the first argument refers to, or empty if there
	// is none.
	path string
	// data, size and offset are the arguments of write calls.
	data         []byte
	size, offset int64
	failed       bool
	injected     bool
}

// straceOptions makes strace log all written bytes in hexadecimal.
var straceOptions = []string{"-f", "-qq", "--seccomp-bpf", "-y", "-xx", "-s", "1048576"}

// readStrace reads a log written by strace.
func readStrace(name string) (calls []sysCall, err error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	begun := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		thread, line, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		line = strings.TrimLeft(line, " ")
		if begin, unfinished := strings.CutSuffix(line, " <unfinished ...>"); unfinished {
			begun[thread] = begin
			continue
		}
		if strings.HasPrefix(line, "<... ") {
			_, end, _ := strings.Cut(line, " resumed>")
			line = begun[thread] + end
		}
		name, _, isCall := strings.Cut(line, "(")
		result := strings.LastIndex(line, " = ")
		if !isCall || result < 0 {
			continue // a signal, or the end of a thread
		}
		call := sysCall{
			name: name, path: straceFile(line[len(name)+1:]),
			failed: strings.HasPrefix(line[result:], " = -"), injected: strings.Contains(line[result:], "INJECTED"),
		}
		if err := call.setWritten(strings.TrimRight(line[len(name)+1:result], ") ")); err != nil {
			return nil, fmt.Errorf("%w in %.200q", err, line)
		}
		calls = append(calls, call)
	}
	return calls, nil
}

// straceFile returns the file that the descriptor in the first argument refers to, or "" if
// there is none.
func straceFile(arguments string) string {
	number, rest, _ := strings.Cut(arguments, "<")
	path, _, found := strings.Cut(rest, ">")
	if _, err := strconv.Atoi(number); err != nil || !found {
		return ""
	}
	return string(unhex(path))
}

// setWritten sets data, size and offset from a call's arguments.
func (c *sysCall) setWritten(arguments string) (err error) {
	last := arguments[strings.LastIndex(arguments, ", ")+1:]
	switch c.name {
	case "pwrite64":
		c.offset, err = strconv.ParseInt(strings.TrimSpace(last), 10, 64)
		fallthrough
	case "writev":
		_, rest, _ := strings.Cut(arguments, `"`)
		text, _, _ := strings.Cut(rest, `"`)
		c.data = unhex(text)
	case "ftruncate":
		c.size, err = strconv.ParseInt(strings.TrimSpace(last), 10, 64)
	}
	return err
}

// unhex decodes bytes that are each written as \x followed by two digits.
func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		return []byte(text) // such as pipe:[1]
	}
	return b
}
