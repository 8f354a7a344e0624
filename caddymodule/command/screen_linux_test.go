package command

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScreen checks how commands recognize a terminal, with a pseudo terminal.
func TestScreen(t *testing.T) {
	terminal := openTerminal(t, 97)
	for _, test := range []struct {
		term, noColor string
		color         bool
	}{{"xterm-256color", "", true}, {"dumb", "", false}, {"xterm-256color", "1", false}} {
		t.Setenv("TERM", test.term)
		t.Setenv("NO_COLOR", test.noColor)
		if got := screenOf(terminal); got != (screen{width: 97, color: test.color}) {
			t.Errorf("TERM=%s NO_COLOR=%s: got %+v", test.term, test.noColor, got)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := screenOf(w); got != (screen{}) {
		t.Errorf("a pipe: got %+v", got)
	}
}

// openTerminal returns the terminal side of a pseudo terminal.
func openTerminal(t *testing.T, width uint16) *os.File {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine has no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = control.Close() })
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width}); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}
