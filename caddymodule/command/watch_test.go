package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mollygate/mollygate/tokenstore"
)

// watched is a running "list --watch".
type watched struct {
	t     *testing.T
	stop  context.CancelFunc
	done  chan error
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
	ticks chan time.Time
}

// Write implements io.Writer for the command's standard output.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.wrote <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

// waitFor waits until the output since the last call contains some text, and returns it.
func (w *watched) waitFor(text string) string {
	w.t.Helper()
	for {
		w.mu.Lock()
		got := w.text.String()
		if strings.Contains(got, text) {
			w.text.Reset()
			w.mu.Unlock()
			return got
		}
		w.mu.Unlock()
		select {
		case <-w.wrote:
		case w.ticks <- time.Time{}: // the time until the next list has passed
		case err := <-w.done:
			w.t.Fatalf("watch ended with %v before it wrote %q:\n%s", err, text, got)
		}
	}
}

func (w *watched) end() {
	w.t.Helper()
	w.stop()
	if err := <-w.done; err != nil {
		w.t.Errorf("an interrupted watch ended with %v", err)
	}
}

func (s *commandServer) watch(t *testing.T, on screen, args ...string) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watched{t: t, stop: stop, done: make(chan error, 1), wrote: make(chan struct{}, 1),
		ticks: make(chan time.Time)}
	c := &console{in: strings.NewReader(""), out: w, err: w, screen: on, now: time.Now,
		after: func(time.Duration) <-chan time.Time { return w.ticks }}
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "api-token <command>"}
	addVerbs(cmd, c)
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"api-token", "list", "--watch", "--address", s.address()}, args...))
	go func() { w.done <- root.ExecuteContext(ctx) }()
	t.Cleanup(stop)
	return w
}

// TestCommandWatchAppends checks that watch writes a line for each change if it doesn't write to
// a terminal.
func TestCommandWatchAppends(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	s.create(t, "--name", "another account", "--account", "alice")
	w := s.watch(t, screen{}, "--account", "default")
	w.waitFor("Watching 1 API keys. Press Ctrl-C to stop.\n")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.store.Now()})
	w.waitFor("used     " + id + "  active    1 uses, 0 refused  ci\n")
	s.store.CountDenied(match, tokenstore.Refusal{Time: s.store.Now(), Code: "ip_denied"})
	w.waitFor("refused  " + id + "  active    1 uses, 1 refused  ci\n")
	s.run("disable", id)
	w.waitFor("changed  " + id + "  disabled  1 uses, 1 refused  ci\n")
	added, _ := s.create(t, "--name", "added")
	w.waitFor("new      " + added + "  active    0 uses, 0 refused  added\n")
	s.run("delete", id, "--yes")
	if got := w.waitFor("gone     " + id); strings.Contains(got, "another") {
		t.Errorf("the output contains a key that the flags don't select:\n%s", got)
	}
	w.end()
}

func TestCommandWatchJSON(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	w := s.watch(t, screen{width: 80}, "-o", "json")
	w.waitFor("Watching 0 API keys.")
	id, _ := s.create(t, "--name", "added")
	got := w.waitFor("}\n")
	var change struct {
		Event string
		Token struct{ ID string }
	}
	if err := json.Unmarshal([]byte(got[strings.IndexByte(got, '{'):]), &change); err != nil || change.Event != "new" ||
		change.Token.ID != id {
		t.Errorf("got %q, error %v", got, err)
	}
	w.end()
}

// TestCommandWatchRedraws checks that watch replaces the table on a terminal.
func TestCommandWatchRedraws(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	s.create(t, "--name", "ci")
	w := s.watch(t, screen{width: 100})
	if got := w.waitFor("Press Ctrl-C to stop."); !strings.HasPrefix(got, "\x1b[H\x1b[2JID ") ||
		!strings.Contains(got, "ci") {
		t.Errorf("got first screen %q", got)
	}
	s.create(t, "--name", "added")
	if got := w.waitFor("added"); !strings.Contains(got, "\x1b[HID ") || strings.Contains(got, "\x1b[2J") {
		t.Errorf("got later screen %q", got)
	}
	w.end()
}

// TestCommandWatchFails checks that watch ends if it can't list the keys even once, and
// otherwise tries again.
func TestCommandWatchFails(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	for _, form := range []string{"csv", "id"} {
		if got := s.run("list", "--watch", "-o", form); got.code != exitUsage {
			t.Errorf("--output %s: got unexpected outcome %+v", form, got)
		}
	}
	w := s.watch(t, screen{})
	w.waitFor("Watching")
	s.CloseClientConnections()
	_ = s.Listener.Close()
	w.waitFor("Trying again.")
	w.end()
	s.Close()
	if got := s.run("list", "--watch"); got.code != exitUnreachable {
		t.Errorf("without a server: got unexpected outcome %+v", got)
	}
}

var _ io.Writer = (*watched)(nil)
