package command

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var update = flag.Bool("update", false, "rewrite the files in testdata/tables")

// widths are the screens that commands print on. 0 is a pipe.
var widths = []int{60, 80, 200, 0}

// onScreens joins the texts that a command printed on screens with the widths.
func onScreens(texts []string) string {
	if len(slices.Compact(slices.Clone(texts))) == 1 {
		return texts[0]
	}
	var all strings.Builder
	for n, text := range texts {
		title := fmt.Sprintf("%d columns", widths[n])
		if widths[n] == 0 {
			title = "in a pipe"
		}
		all.WriteString("=== " + title + "\n" + text)
	}
	return all.String()
}

// goldenServer is a server with a fixed clock and fixed keys.
type goldenServer struct {
	*commandServer
	ids []string
	// leak is a text that contains keys.
	leak string
	// answer is what a user types if the command runs on a terminal. It replaces leak.
	answer string
}

func newGoldenServer(t *testing.T) *goldenServer {
	t.Helper()
	s := &goldenServer{commandServer: newCommandServerAt(t, time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC))}
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
	s.store.CountDenied(match, tokenstore.Refusal{Time: s.store.Now(), Scope: "volume:list", Method: "GET",
		Path: "/api/volumes", Code: "insufficient_scope", IP: "2001:db8::1f:9a2b",
		UserAgent: "GitHub-Hookshot/044aadd (Azure; eastus2) actions/4.1.0"})
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

// lineID matches an ID at the start of a line.
var lineID = regexp.MustCompile(`(?m)^[0-9A-Za-z]{12}\b`)

// print runs a command on a screen and returns everything that it prints. It replaces what
// differs from run to run.
func (s *goldenServer) print(sc screen, args ...string) string {
	c := &console{in: strings.NewReader(s.leak), screen: sc, now: s.Now}
	if s.answer != "" {
		c.in, c.interactive = strings.NewReader(s.answer), true
	}
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
	if match := secretLike.FindStringSubmatch(text); match != nil { // a new key's ID is random as well
		text = strings.ReplaceAll(text, match[1][4:16], "newkey000001")
	}
	text = lineID.ReplaceAllStringFunc(text, func(id string) string {
		if strings.HasPrefix(id, "key0") {
			return id
		}
		return "newkey000001"
	})
	text = secretLike.ReplaceAllString(text, "${1}SECRET")
	text = strings.ReplaceAll(text, s.address(), "localhost:2019")
	text = regexp.MustCompile(`it was \S+Z`).ReplaceAllString(text, "it was …") // depends on the elapsed time
	text = regexp.MustCompile(`--cursor \S+`).ReplaceAllString(text, "--cursor …")
	text = regexp.MustCompile(`[\d.]+ ([KMGT]iB)`).ReplaceAllString(text, "9 $1")
	text = regexp.MustCompile(`#\S{20,}`).ReplaceAllString(text, "…")
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
		"status":        {"status"},
		"scopes":        {"scopes"},
		"refusals":      {"refusals", s.ids[1]},
	} {
		var texts []string
		for _, width := range widths {
			text := s.print(screen{width: width}, args...)
			checkWidth(t, name, text, width)
			texts = append(texts, text)
		}
		compare(t, name, onScreens(texts))
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

// checkWidth checks that the results in what a command printed fit on a screen.
func checkWidth(t *testing.T, name, text string, width int) {
	t.Helper()
	result, _, _ := strings.Cut(text, "---")
	for line := range strings.SplitSeq(result, "\n") {
		if got := runewidth.StringWidth(line); width > 0 && got > width && !strings.HasPrefix(line, "mmk_") {
			t.Errorf("%s: got a line with %d columns for a screen with %d: %s", name, got, width, line)
		}
	}
}

// TestMessages compares what the other verbs print with testdata/tables. It runs them one after
// another, once for each width.
func TestMessages(t *testing.T) {
	t.Parallel()
	imported := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(imported, []byte(`{"tokens":[{"token_type":"Bearer","name":"ci",
		"value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e","expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00",
		"last_access":"2026-01-01 00:00:00-00:00","usage_count":1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	server := newOwnKeyServer(t)
	steps := []struct {
		name, answer string
		args         []string
	}{
		{"create", "", []string{"create", "--name", "nightly backup of all volumes", "--expires-in", "90d", "--preset",
			"read"}},
		{"create-asked", "docs\n\n\n\n", []string{"create"}},
		{"create-wrong", "", []string{"create", "--expires-in", "5m", "--scope", "unikernel:lits"}},
		{"edit", "", []string{"edit", "KEY1", "--rate-limit", "60/1m", "--metadata", "owner=alice"}},
		{"edit-nothing", "", []string{"edit", "KEY1"}},
		{"rotate", "", []string{"rotate", "KEY1", "--grace", "7d"}},
		{"enable", "", []string{"enable", "KEY2", "KEY4"}},
		{"disable", "", []string{"disable", "KEY2"}},
		{"revoke-asked", "y\n", []string{"revoke", "KEY2"}},
		{"revoke-declined", "n\n", []string{"revoke", "KEY1", "KEY4"}},
		{"revoke", "", []string{"revoke", "KEY2", "KEY4", "--yes"}},
		{"delete-asked", "y\n", []string{"delete", "KEY2"}},
		{"delete", "", []string{"delete", "KEY2", "--yes"}},
		{"lookup", commandVector, []string{"lookup"}},
		{"import", "", []string{"import", imported, "--account", "alice", "--preset", "read"}},
		{"check", "", []string{"check"}},
		{"compact", "", []string{"compact"}},
		{"clock", "", []string{"clock", "accept", "--yes"}},
		{"open", "", []string{"open"}},
		{"open-end", "", []string{"open", "--end"}},
		{"whoami", commandVector, []string{"whoami", "--key-stdin", server.URL + "/base"}},
		{"unknown", "", []string{"show", "no such key"}},
	}
	printed := make(map[string][]string)
	for _, width := range widths {
		s := newGoldenServer(t)
		s.dashboards = []string{"https://keys.example.com"}
		for _, step := range steps {
			args := slices.Clone(step.args)
			for n, arg := range args {
				if number, ok := strings.CutPrefix(arg, "KEY"); ok {
					args[n] = s.ids[number[0]-'1']
				}
			}
			s.answer = step.answer
			text := s.print(screen{width: width}, args...)
			checkWidth(t, step.name, text, width)
			printed[step.name] = append(printed[step.name], text)
		}
	}
	for name, texts := range printed {
		compare(t, name, onScreens(texts))
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
