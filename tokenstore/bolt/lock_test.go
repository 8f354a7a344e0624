package bolt

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// startHolder starts a process that has the store open.
func startHolder(t *testing.T, path string) (holder *exec.Cmd, end func()) {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	holder = exec.Command(program)
	holder.Env = append(os.Environ(), holdEnvironment+"="+path)
	input, err := holder.StdinPipe()
	check(t, err)
	output, err := holder.StdoutPipe()
	check(t, err)
	check(t, holder.Start())
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return holder, func() {
		_ = input.Close()
		_ = holder.Wait()
	}
}

// TestLocked: a store that another process has open is left alone, within seconds
// and with a word about who has it (FT-18); it is free at once when that process
// is killed (FT-19).
func TestLocked(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"the other ends": false, "the other is killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			holder, end := startHolder(t, path)
			if err := Inspect(path); err != nil {
				t.Errorf("Inspect: %v", err)
			}
			start := time.Now()
			_, err := Open(path)
			took := time.Since(start)
			var locked *LockedError
			if !errors.As(err, &locked) || locked.Path != path {
				t.Fatalf("Open: %v", err)
			}
			if took < lockTimeout/2 || took > 3*lockTimeout {
				t.Errorf("it took %s to printLine so", took)
			}
			for _, word := range []string{path, "caddy reload", "another running Caddy", "its own store file"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q doesn't printLine %q", err, word)
				}
			}
			// Where the kernel tells, it tells of the right process.
			if locked.PID != 0 &&
				(locked.PID != holder.Process.Pid ||
					!strings.Contains(err.Error(), fmt.Sprint("process ", locked.PID))) {
				t.Errorf("process %d has it, said is %d", holder.Process.Pid, locked.PID)
			}
			if killed {
				check(t, holder.Process.Kill())
				_ = holder.Wait()
			} else {
				end()
			}
			start = time.Now()
			b := mustOpen(t, path)
			if took := time.Since(start); took > lockTimeout/2 {
				t.Errorf("a free store takes %s to open", took)
			}
			makeToken(t, openStore(t, b))
		})
	}
}

// TestLockedBySameProcess: a store can't be opened twice in one process either, and is
// free when it is closed.
func TestLockedBySameProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	var locked *LockedError
	if _, err := Open(path); !errors.As(err, &locked) {
		t.Errorf("got %v", err)
	}
	if runtime.GOOS == "linux" && locked.PID != 0 && locked.PID != os.Getpid() {
		t.Errorf("process %d has it, said is %d", os.Getpid(), locked.PID)
	}
	// Who waits for a store that is just being closed gets it.
	opened := make(chan error)
	go func() {
		again, err := Open(path)
		if err == nil {
			err = again.Close()
		}
		opened <- err
	}()
	check(t, b.Close())
	check(t, <-opened)
}
