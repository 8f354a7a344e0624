package command

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var update = flag.Bool("update", false, "rewrite the files in testdata/tables")

// goldenServer is a server with a fixed clock and fixed keys.
type goldenServer struct {
	*commandServer
	ids []string
	// leak is a text that contains keys.
	leak string
}

func newGoldenServer(t *testing.T) *goldenServer {
	t.Helper()
	s := &goldenServer{newCommandServerAt(t, time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC)), nil, ""}
	add := func(args ...string) (id, secret string) {
		id, secret = s.create(t, args...)
		s.ids = append(s.ids, id)
		s.pass(26 * time.Hour)
		return id, secret
	}
	use := func(secret, scope string, n int, last tokenstore.LastUse) {
		match, err := s.match(t, secret)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			last.Time = s.store.Now()
			s.store.CountAllowed(match, scope, last)
		}
	}
	_, secret := add("--name", "unipi deploy, staging", "--account", "alice", "--preset", "", "--scope", "volume:list",
		"--scope", "unikernel:*", "--scope", "unikernel:list", "--metadata", "owner=hannes", "--metadata", "tags=ci,eu",
		"--allowed-ip", "203.0.113.0/24", "--allowed-ip", "2001:db8::/32", "--rate-limit", "600/1m")
	use(secret, "unikernel:list", 12345, tokenstore.LastUse{IP: "203.0.113.7", UserAgent: "curl/8.5.0",
		Route: "GET /api/unikernels"})
	_, leaked := add("--name", "GitHub Actions: release the website and its documentation", "--expires-in", "28d")
	use(leaked, "unikernel:list", 7, tokenstore.LastUse{IP: "2001:db8::1f:9a2b",
		UserAgent: "GitHub-Hookshot/044aadd (Azure; eastus2) actions/4.1.0", Route: "GET /api/unikernels"})
	match, err := s.match(t, leaked)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountDenied(match, tokenstore.Refusal{Time: s.store.Now(), Scope: "volume:list",
		Code: "insufficient_scope"})
	admin, _ := add("--name", "Carol", "--kind", "admin", "--preset", "", "--expires-in", "12h")
	add("--name", "バックアップ", "--expires-in", "2y")
	old, _ := add("--name", "=HYPERLINK(1)")
	s.run("edit", s.ids[0], "--metadata", "owner=hannes", "--metadata", "contact=hannes@example.com")
	s.run("disable", s.ids[3])
	s.run("revoke", old, "--yes")
	s.pass(3 * time.Hour)
	// A change by an admin key, whose ID is the actor.
	id, err := token.ParseID(s.ids[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Disable(id, 0, tokenstore.Actor{Name: admin, Address: "203.0.113.80"}); err != nil {
		t.Fatal(err)
	}
	s.leak = "# old notes\n\nexport KEY=" + leaked + "\n" + commandVector + "\n"
	return s
}

// print runs a command on a screen and returns everything that it prints. It replaces what
// differs from run to run.
func (s *goldenServer) print(sc screen, args ...string) string {
	c := &console{in: strings.NewReader(s.leak), screen: sc, now: s.Now}
	got := runCommand(c, append(args, "--address", s.address())...)
	text := got.out
	if got.err != "" {
		text += "--- standard error\n" + got.err
	}
	if got.code != exitOK {
		text += fmt.Sprintf("--- exit status %d\n", got.code)
	}
	for n, id := range s.ids {
		text = strings.ReplaceAll(text, id, fmt.Sprintf("key%09d", n+1))
	}
	text = regexp.MustCompile(`--cursor \S+`).ReplaceAllString(text, "--cursor …")
	return strings.ReplaceAll(text, "\x1b", "ESC")
}

// TestTables compares the tables of all verbs, on screens of several widths and in pipes, with
// testdata/tables. Rewrite the files with "go test -run TestTables . -update" and look at them.
func TestTables(t *testing.T) {
	t.Parallel()
	s := newGoldenServer(t)
	for name, args := range map[string][]string{
		"list":          {"list"},
		"list-limit":    {"list", "--limit", "2", "--count"},
		"list-columns":  {"list", "--columns", "name,owner,tags,expires"},
		"show":          {"show", s.ids[0]},
		"show-revoked":  {"show", s.ids[4]},
		"usage":         {"usage", s.ids[0], s.ids[1], s.ids[2]},
		"usage-history": {"usage", s.ids[1], "--step", "hour"},
		"audit":         {"audit"},
		"explain":       {"explain", "GET", "/api/both", "--token-id", s.ids[0], "--ip", "198.51.100.1"},
		"scan":          {"scan", "-"},
	} {
		var all bytes.Buffer
		for _, width := range []int{60, 80, 200, 0} {
			text := s.print(screen{width: width}, args...)
			title := fmt.Sprintf("%d columns", width)
			if width == 0 {
				title = "in a pipe"
			}
			fmt.Fprintf(&all, "=== %s\n%s", title, text)
			result, _, _ := strings.Cut(text, "---")
			for line := range strings.SplitSeq(result, "\n") {
				if got := runewidth.StringWidth(line); width > 0 && got > width {
					t.Errorf("%s: got a line with %d columns for a screen with %d: %s", name, got, width, line)
				}
			}
		}
		compare(t, name, all.String())
	}
	// These look the same on all screens.
	for name, args := range map[string][]string{
		"list-wide":  {"list", "-o", "wide"},
		"list-csv":   {"list", "-o", "csv"},
		"usage-csv":  {"usage", s.ids[0], s.ids[1], "-o", "csv"},
		"audit-wide": {"audit", "-o", "wide"},
		"audit-csv":  {"audit", "-o", "csv"},
		"scan-json":  {"scan", "-", "-o", "json"},
	} {
		compare(t, name, s.print(screen{width: 60}, args...))
	}
	for _, name := range []string{"list", "explain"} {
		args := []string{"list"}
		if name == "explain" {
			args = []string{"explain", "GET", "/api/volumes", "--token-id", s.ids[1]}
		}
		compare(t, name+"-color", s.print(screen{width: 80, color: true}, args...))
	}
}

// compare compares text with a file in testdata/tables.
func compare(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "tables", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}
