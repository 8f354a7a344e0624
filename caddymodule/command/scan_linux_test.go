package command

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pipe creates a FIFO and writes text to it in the background.
func pipe(t *testing.T, path, text string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for a reader
		if err != nil {
			return // no reader
		}
		_, _ = file.WriteString(text)
		_ = file.Close()
	}()
}

// TestCommandScanSpecialFiles checks that scan reads a FIFO to its end if it is named in the
// arguments. A FIFO below a directory could block, so scan only reports it, like any other
// irregular file there.
func TestCommandScanSpecialFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := strings.Repeat("x\n", scanBuffer) + commandVector
	pipe(t, filepath.Join(dir, "fifo"), text)
	if code, found, left := scanned(t, nil, dir, "fifo"); code != 4 || found != "fifo:1048577" || left != "" {
		t.Errorf("a FIFO: got exit code %d, found %q: %s", code, found, left)
	}
	pipe(t, filepath.Join(dir, "clean"), "x")
	if err := os.Symlink("clean", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if code, found, left := scanned(t, nil, dir, "link"); code != 0 || found != "" {
		t.Errorf("a link to a clean FIFO: got exit code %d, found %q: %s", code, found, left)
	}
	if code, _, left := scanned(t, nil, "", "/dev/null"); code != 0 || left != "" {
		t.Errorf("a device: got exit code %d: %s", code, left)
	}

	dir = tree(t, map[string]string{"a": "x", "b/": ""})
	if err := unix.Mkfifo(filepath.Join(dir, "b/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if code, _, left := scanned(t, nil, dir, "."); code != 1 || !strings.Contains(left, "b/fifo") ||
		!strings.Contains(left, "socket") || strings.Count(left, "not read: ") != 2 {
		t.Errorf("below a directory: got exit code %d: %s", code, left)
	}
	if code, _, left := scanned(t, nil, dir, "socket"); code != 1 ||
		!strings.Contains(left, "not read: open "+dir+"/socket") {
		t.Errorf("a socket: got exit code %d: %s", code, left)
	}
}

// asNobody runs f as an unprivileged user, even if root runs the tests.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		const nobody = 65534
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// TestCommandScanUnreadable checks that scan reports unreadable files and searches all others.
func TestCommandScanUnreadable(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": "x", "secret": commandVector, "d/e/b": commandVector, "d/f": "x",
		"shut/c": "x", "l -> shut/c": "", "found/t": commandVector})
	for name, mode := range map[string]os.FileMode{"..": 0o755, "": 0o755, "a": 0o644, "d/f": 0o644, "found/t": 0o644,
		"secret": 0, "d/e": 0, "shut": 0o644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "d/e"), 0o700) })
	asNobody(t, func() {
		for _, test := range []struct {
			names []string
			code  int
			left  []string
		}{
			{[]string{"secret"}, 1, []string{"open " + dir + "/secret: permission denied"}},
			{[]string{"d/e"}, 1, []string{"open " + dir + "/d/e: permission denied"}},
			{[]string{"d/e/b"}, 1, []string{dir + "/d/e/b: permission denied"}},
			{[]string{"d"}, 1, []string{"open " + dir + "/d/e: permission denied"}},
			{[]string{"shut"}, 1, []string{dir + "/shut/c: permission denied"}},
			{[]string{"a", "secret", "d/f"}, 1, []string{"open " + dir + "/secret: permission denied"}},
			{[]string{"a", "d/f"}, 0, nil},
			{[]string{"."}, 4, []string{dir + "/d/e: permission denied", dir + "/l", dir + "/secret: permission denied",
				dir + "/shut/c: permission denied"}},
			{[]string{"secret", "found"}, 4, []string{dir + "/secret: permission denied"}},
		} {
			code, found, left := scanned(t, nil, dir, test.names...)
			if code != test.code || (code == 4) != (found == "found/t:1") ||
				strings.Count(left, "not read: ") != len(test.left) {
				t.Errorf("%q: got exit code %d, found %q; want exit code %d: %s", test.names,
					code, found, test.code, left)
			}
			for _, text := range test.left {
				if !strings.Contains(left, text+"\n") && !strings.Contains(left, text+" ") &&
					!strings.Contains(left, text+":") {
					t.Errorf("%q: %q is missing from the report: %s", test.names, text, left)
				}
			}
		}
	})
	// Opening this file succeeds, but reading it fails.
	if code, _, left := scanned(t, nil, "", "/proc/self/mem"); code != 1 ||
		!strings.Contains(left, "not read: read /proc/self/mem: ") {
		t.Errorf("a read error: got exit code %d: %s", code, left)
	}
}

// TestCommandScanDescriptors checks that scan reads process substitutions and paths that refer
// to standard input.
func TestCommandScanDescriptors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{commandVector: 4, "x": 0} {
		for _, name := range []string{"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "-"} {
			if got := runProcess(t, t.TempDir(), nil, text, "scan", "--offline", name); got.code != want {
				t.Errorf("%s: got %+v, want exit code %d", name, got, want)
			}
		}
		shell := exec.Command("bash", "-c",
			`scan() {
	MOLLYGATE_TEST_ARGS=$'caddy\napi-token\nscan\n--offline\n'$1 "$0" -test.run='^TestCommandProcess$'
}
scan <(printf %s "$TEXT")`, os.Args[0])
		shell.Env = append(os.Environ(), "TEXT="+text)
		var out bytes.Buffer
		shell.Stdout, shell.Stderr = &out, &out
		if err := shell.Run(); err != nil && shell.ProcessState == nil {
			t.Fatal(err)
		}
		if code := shell.ProcessState.ExitCode(); code != want {
			t.Errorf("a process substitution: got exit code %d, want %d: %s", code, want, &out)
		}
	}
}
