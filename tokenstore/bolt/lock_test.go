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

// startHolder starts a process that holds the store open.
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
		t.Fatalf("the other process printed %q, err %v", line, err)
	}
	return holder, func() {
		_ = input.Close()
		_ = holder.Wait()
	}
}

// TestLocked verifies that opening a store that another process has open fails within seconds,
// with an error that names the process, and succeeds immediately after that process exits or
// is killed.
func TestLocked(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"exit": false, "kill": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			holder, end := startHolder(t, path)
			if err := Inspect(path); err != nil {
				t.Errorf("Inspect of a locked store: %v", err)
			}
			start := time.Now()
			_, err := Open(path)
			took := time.Since(start)
			var locked *LockedError
			if !errors.As(err, &locked) || locked.Path != path {
				t.Fatalf("Open of a locked store: got err %v, want a LockedError", err)
			}
			if took < lockTimeout/2 || took > 3*lockTimeout {
				t.Errorf("Open failed after %s, want about %s", took, lockTimeout)
			}
			for _, word := range []string{path, "caddy reload", "another running Caddy", "its own store file"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error %q doesn't contain %q", err, word)
				}
			}
			// If the kernel lists the lock, the error must name the right process.
			if locked.PID != 0 &&
				(locked.PID != holder.Process.Pid ||
					!strings.Contains(err.Error(), fmt.Sprint("process ", locked.PID))) {
				t.Errorf("got PID %d, want %d; error: %v", locked.PID, holder.Process.Pid, err)
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
				t.Errorf("opening an unlocked store took %s, want at most %s", took, lockTimeout/2)
			}
			makeToken(t, openStore(t, b))
		})
	}
}

// TestLockedBySameProcess verifies that a process can't open a store twice and that closing
// the store unlocks it.
func TestLockedBySameProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	var locked *LockedError
	if _, err := Open(path); !errors.As(err, &locked) {
		t.Errorf("opening the store twice: got err %v, want a LockedError", err)
	}
	if runtime.GOOS == "linux" && locked.PID != 0 && locked.PID != os.Getpid() {
		t.Errorf("got PID %d, want %d", locked.PID, os.Getpid())
	}
	// Open succeeds if the store is closed while Open waits.
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
