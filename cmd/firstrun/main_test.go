package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCode checks the exit codes, and that a message explains only what the user didn't do.
func TestExitCode(t *testing.T) {
	for script, want := range map[string]struct {
		code int
		says string
	}{
		"exit 0":        {0, ""},
		"exit 3":        {3, ""},
		"kill -INT $$":  {1, ""},
		"kill -TERM $$": {1, ""},
		"kill -KILL $$": {1, "run the same command again"},
	} {
		said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		stderr := os.Stderr
		os.Stderr = said
		code := exitCode(exec.CommandContext(t.Context(), "sh", "-c", script).Run())
		os.Stderr = stderr
		text, err := os.ReadFile(said.Name())
		if err != nil || said.Close() != nil {
			t.Fatal(err)
		}
		if code != want.code || !strings.Contains(string(text), want.says) || (len(text) > 0) != (want.says != "") {
			t.Errorf("%s: got code %d, %q; want %d, %q", script, code, text, want.code, want.says)
		}
	}
}
