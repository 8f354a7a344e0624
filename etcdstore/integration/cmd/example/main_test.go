//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// goEnv returns a setting of the go command.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// waitUntil waits until the output contains some text.
func waitUntil(t *testing.T, printed *output, text string, timeout time.Duration) {
	t.Helper()
	for began := time.Now(); !strings.Contains(printed.String(), text); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > timeout {
			t.Fatalf("%q was not printed:\n%s", text, redacted(printed.String()))
		}
	}
}

// redacted removes secrets.
func redacted(text string) string {
	return regexp.MustCompile(`(mm[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]+`).ReplaceAllString(text, "$1…")
}

// TestExample runs the example in an empty home directory, pastes the commands that it prints
// into a shell, and interrupts it. It must leave no process behind.
func TestExample(t *testing.T) {
	t.Parallel()
	program, dir := filepath.Join(t.TempDir(), "example"), filepath.Join(t.TempDir(), "a directory's data")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.CommandContext(t.Context(), program, "-dir", dir, "-restart", "2s")
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "GOCACHE="+goEnv(t, "GOCACHE"),
		"GOMODCACHE="+goEnv(t, "GOMODCACHE"), "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	var printed output
	command.Stdout, command.Stderr = &printed, &printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	stop := sync.OnceValue(func() error {
		_ = command.Process.Signal(os.Interrupt)
		return <-ended
	})
	defer func() { _ = stop() }()
	waitUntil(t, &printed, "Press Ctrl-C to stop everything.", 15*time.Minute) // compiles Caddy and etcd
	instructions := printed.String()
	for line := range strings.SplitSeq(redacted(instructions), "\n") {
		if len([]rune(line)) > 120 {
			t.Errorf("a line has more than 120 characters: %s", line)
		}
	}
	// A second example must not use the same directory.
	if out, err := exec.CommandContext(t.Context(), program, "-dir", dir).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "another example is running") {
		t.Errorf("a second example: %v, %s", err, out)
	}

	var commands strings.Builder
	pasted := regexp.MustCompile(`(?m)^  ((?:MOLLYGATE|ADMIN_KEY|curl|kill|sleep|"\$MOLLYGATE").*)$`)
	for _, line := range pasted.FindAllStringSubmatch(instructions, -1) {
		commands.WriteString(line[1] + "\n")
	}
	script := "set -u\n" + strings.ReplaceAll(commands.String(), "curl ", `curl -sS -w '\n[%{http_code}]\n' `)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, redacted(string(out)))
	}
	for want, n := range map[string]int{"[200]": 6, "[401]": 2, `"name":"hello"`: 5, `"code":"revoked_token"`: 2,
		`"status":"ok"`: 1, "by gate": 1, " live": 3, "Created API key": 1, "Revoked ": 1} {
		if got := strings.Count(string(out), want); got < n {
			t.Errorf("the commands printed %q %d times, want %d:\n%s", want, got, n, redacted(string(out)))
		}
	}
	waitUntil(t, &printed, "member-1 runs again as process", time.Minute)
	waitUntil(t, &printed, "gate-3 runs again as process", time.Minute)

	if err := stop(); err != nil {
		t.Errorf("the example ended with %v", err)
	}
	waitUntil(t, &printed, "Clean up:    rm -r", time.Second)
	for _, match := range regexp.MustCompile(`process (\d+)`).FindAllStringSubmatch(printed.String(), -1) {
		pid, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still running: %v", pid, err)
		}
	}
	cleanUp := regexp.MustCompile(`Clean up:    (.*)`).FindStringSubmatch(printed.String())[1]
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", cleanUp).CombinedOutput(); err != nil {
		t.Errorf("cleaning up: %v %s", err, out)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is still there")
	}
}
