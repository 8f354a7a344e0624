package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// stored returns what the store has of a token.
func (s *commandServer) stored(t *testing.T, id string) *tokenstore.Token {
	t.Helper()
	parsed, err := tokenstore.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.store.Get(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return found.Token
}

// present returns what the store makes of a secret.
func (s *commandServer) present(t *testing.T, secret string) string {
	t.Helper()
	match, err := s.match(t, secret)
	if err != nil {
		return err.Error()
	}
	return match.Status.String()
}

func (s *commandServer) match(t *testing.T, secret string) (tokenstore.Match, error) {
	t.Helper()
	credential, err := tokenstore.Prefixes{"mm"}.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s.store.Authenticate(credential, s.store.Now())
}

func TestCommandEdit(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "old", "--metadata", "a=1", "--metadata", "b=2", "--allowed-ip", "10.0.0.0/8", "--not-before", "2026-01-01T00:00:00Z")
	for _, test := range []struct {
		args string
		want string
	}{
		{"--name new", "new [unikernel:list] [10.0.0.0/8] map[a:1 b:2] default"},
		{"--scope volume:list --scope unikernel:*", "new [unikernel:* volume:list] [10.0.0.0/8] map[a:1 b:2] default"},
		{"--preset read --account alice", "new [unikernel:list] [10.0.0.0/8] map[a:1 b:2] alice"},
		{"--allowed-ip 192.0.2.1 --allowed-ip ::1", "new [unikernel:list] [192.0.2.1/32 ::1/128] map[a:1 b:2] alice"},
		{"--allowed-ip none", "new [unikernel:list] [] map[a:1 b:2] alice"},
		{"--metadata c=3 --metadata a=9 --remove-metadata b", "new [unikernel:list] [] map[a:9 c:3] alice"},
		{"--not-before none --rate-limit none --quota none", "new [unikernel:list] [] map[a:9 c:3] alice"},
		{"--rate-limit 60/1m --quota 10000/month", "new [unikernel:list] [] map[a:9 c:3] alice 60/1m 10000/month"},
		{"--rate-limit 90/90s", "new [unikernel:list] [] map[a:9 c:3] alice 90/90s 10000/month"},
		{"--rate-limit none --quota none", "new [unikernel:list] [] map[a:9 c:3] alice"},
		{"--expires-in 3600", "new [unikernel:list] [] map[a:9 c:3] alice"},
	} {
		got := s.run(append([]string{"edit", id}, strings.Fields(test.args)...)...)
		stored := s.stored(t, id)
		if text := strings.TrimSpace(fmt.Sprint(stored.Name, " ", stored.Scopes, " ", stored.AllowedIPs, " ", stored.Metadata, " ", stored.Account, " ", stored.RateLimit, " ", stored.Quota)); got.code != exitOK || text != test.want {
			t.Errorf("%s: %+v\nstored %s\nwant   %s", test.args, got, text, test.want)
		}
	}
	if end := time.Until(s.stored(t, id).ExpiresAt); end > time.Hour || end < 50*time.Minute {
		t.Errorf("it ends in %s", end)
	}
	if !s.stored(t, id).NotBefore.IsZero() {
		t.Error("not_before is still there")
	}
	if got := s.run("edit", id, "--name", "new"); got.code != exitOK || !strings.Contains(got.err, "Nothing had to change") {
		t.Errorf("%+v", got)
	}
	if got := s.run("edit", id, "--name", "x", "-o", "json"); !json.Valid([]byte(got.out)) {
		t.Errorf("%+v", got)
	}
	s.run("revoke", id, "--yes")
	if got := s.run("edit", id, "--name", "y"); got.code != exitConflict || !strings.Contains(got.err, "make a new one") {
		t.Errorf("%+v", got)
	}
	if got := s.run("edit", "000000000000", "--name", "y"); got.code != exitNotFound {
		t.Errorf("%+v", got)
	}
}

func TestCommandRotate(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, first := s.create(t, "--name", "ci")
	got := s.run("rotate", id)
	second := strings.TrimSuffix(got.out, "\n")
	if got.code != exitOK || s.present(t, first) != "active" || s.present(t, second) != "active" || second == first ||
		!strings.Contains(got.err, "The old secret works until ") || strings.Contains(got.err, second[20:]) {
		t.Errorf("%+v", got)
	}
	if got := s.run("show", id); !strings.Contains(got.err, "from before the rotation was not used since") {
		t.Errorf("%+v", got)
	}
	match, err := s.match(t, first)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.store.Now(), IP: "203.0.113.9", UserAgent: "curl/8.5.0"})
	if got := s.run("show", id); !strings.Contains(got.err, "s ago from 203.0.113.9 by curl/8.5.0.") {
		t.Errorf("%+v", got)
	}
	got = s.run("rotate", id, "--grace", "0s", "--yes", "-o", "json")
	var object struct{ ID, Token string }
	if err := json.Unmarshal([]byte(got.out), &object); err != nil || object.ID != id || s.present(t, object.Token) != "active" ||
		s.present(t, second) == "active" || !strings.Contains(got.err, "has stopped working") {
		t.Errorf("%+v", got)
	}
	asked := func(answer string) outcome {
		return runAsked(answer, "rotate", id, "--grace", "0", "--address", s.address())
	}
	if got := asked("n\n"); got.code != exitRefused || got.out != "" || s.present(t, object.Token) != "active" {
		t.Errorf("%+v", got)
	}
	if got := asked("y\n"); got.code != exitOK || s.present(t, object.Token) == "active" {
		t.Errorf("%+v", got)
	}
	got = s.run("rotate", id, "--expires-in", "1h", "--grace", "60")
	if end := time.Until(s.stored(t, id).ExpiresAt); got.code != exitOK || end > time.Hour {
		t.Errorf("%+v, ends in %s", got, end)
	}
	if got := s.run("rotate", "000000000000"); got.code != exitNotFound || got.out != "" {
		t.Errorf("%+v", got)
	}
}

func TestCommandStates(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	a, first := s.create(t, "--name", "a")
	b, second := s.create(t, "--name", "b")
	if got := s.run("disable", a, b); got.code != exitOK || s.present(t, first) != "disabled" || s.present(t, second) != "disabled" {
		t.Errorf("%+v", got)
	}
	if got := s.run("enable", a, "000000000000", b); got.code != exitNotFound || s.present(t, first) != "active" || s.present(t, second) != "active" {
		t.Errorf("%+v", got)
	}
	waited := false
	c := &console{after: func(d time.Duration) <-chan time.Time {
		waited = d == answersEnd
		return time.After(0)
	}}
	if got := runCommand(c, "revoke", a, "--yes", "--wait", "--address", s.address()); got.code != exitOK || !waited || s.present(t, first) != "revoked" {
		t.Errorf("%+v, waited %v", got, waited)
	}
	// One that is in the wrong state doesn't hinder the next.
	if got := s.run("enable", a, b); got.code != exitConflict || !strings.Contains(got.err, "for good") || !strings.Contains(got.err, "Enabled "+b) {
		t.Errorf("%+v", got)
	}
	if got := runAsked("no\n", "revoke", b, "--address", s.address()); got.code != exitRefused ||
		!strings.Contains(got.err, b+"  b (active") || s.present(t, second) != "active" {
		t.Errorf("%+v", got)
	}
}

func TestCommandLookup(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "lost")
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(in string, args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(in)}, append([]string{"lookup", "--address", s.address()}, args...)...)
	}
	for name, got := range map[string]outcome{
		"standard input": look(" "+secret+"\r\n", "-o", "id"),
		"file":           look("", "-o", "id", "--token-file", path),
	} {
		if got.code != exitOK || got.out != id+"\n" || strings.Contains(got.err, secret[20:]) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := look(commandVector); got.code != exitNotFound || strings.Contains(got.err, commandVector[20:]) {
		t.Errorf("%+v", got)
	}
	for _, in := range []string{"two words", strings.Repeat("x", maxSecretFile+1)} {
		if got := look(in); got.code != exitUsage {
			t.Errorf("%+v", got)
		}
	}
	// Never as an argument.
	if got := s.run("lookup", secret); got.code != exitUsage || strings.Contains(got.err, secret[20:]) {
		t.Errorf("%+v", got)
	}
}

func TestCommandAudit(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "first")
	s.run("edit", id, "--name", "second")
	s.run("disable", id)
	got := s.run("audit")
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	if got.code != exitOK || len(lines) != 4 || !strings.HasPrefix(lines[0], "TIME") || !strings.Contains(squeeze(lines[2]), " edit "+id+" second caddy") || !strings.Contains(lines[3], "create") {
		t.Errorf("%+v", got)
	}
	for _, line := range lines {
		if len([]rune(line)) > tableWidth {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	got = s.run("audit", "--action", "edit", "-o", "json")
	var entries []struct {
		Action  string
		TokenID string `json:"token_id"`
		Changes map[string]string
	}
	if err := json.Unmarshal([]byte(got.out), &entries); err != nil || len(entries) != 1 || entries[0].TokenID != id || entries[0].Changes["name"] != "first -> second" {
		t.Errorf("%+v", got)
	}
	if got := s.run("audit", "--actor", "nobody"); got.code != exitOK || got.out != "" || got.err != "no changes\n" {
		t.Errorf("%+v", got)
	}
	got = s.run("audit", "--limit", "1", "-o", "json")
	_, cursor, found := strings.Cut(got.err, "--cursor ")
	if !found {
		t.Fatalf("%+v", got)
	}
	if got := s.run("audit", "--cursor", strings.TrimSpace(cursor), "-o", "json"); strings.Count(got.out, `"action"`) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestCommandExplain(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	if got := s.run("explain", "GET", "/api/unikernels", "--token-id", id); got.code != exitOK || !strings.HasPrefix(got.out, "allowed\nCHECK") || !strings.Contains(got.out, "scope") {
		t.Errorf("%+v", got)
	}
	got := runCommand(&console{in: strings.NewReader(secret)}, "explain", "GET", "/api/volumes", "--token-file", "-", "-o", "json", "--address", s.address())
	var e struct {
		Allowed bool
		Code    string
	}
	if err := json.Unmarshal([]byte(got.out), &e); err != nil || got.code != exitRefused || e.Code != "insufficient_scope" || strings.Contains(got.out, secret[20:]) {
		t.Errorf("%+v", got)
	}
	if got := s.run("explain", "POST", "/api/nothing", "--token-id", id); got.code != exitRefused || !strings.HasPrefix(got.out, "refused with 403 route_not_allowed\n") || got.err != "" {
		t.Errorf("%+v", got)
	}

	// Gates that differ.
	got = s.run("explain", "GET", "/api/both", "--token-id", id)
	if first, second := strings.Index(got.out, "\nat api.example.com: allowed\n"), strings.Index(got.out, "\nat other.example.com: refused with 403 insufficient_scope\n"); got.code != exitRefused || first < 0 || second < first {
		t.Errorf("%+v", got)
	}
	if got := s.run("explain", "GET", "/api/both", "--token-id", id, "--gate", "api.example.com"); got.code != exitOK || !strings.HasPrefix(got.out, "allowed\n") {
		t.Errorf("%+v", got)
	}
	if got := s.run("explain", "GET", "/api/both", "--token-id", id, "--gate", "nowhere"); got.code == exitOK || !strings.Contains(got.err, "--gate") || !strings.Contains(got.err, "other.example.com") {
		t.Errorf("%+v", got)
	}
}

func TestCommandImport(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	record := `{"name":"alice","password":"SECRET","tokens":[
		{"name":"ci","value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e","expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00"},
		{"name":"old","value":"0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10","expires_in":1,"created_at":"2026-01-01 00:00:00-00:00"}]}`
	run := func(args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(record)}, append([]string{"import", "-", "--address", s.address(), "--preset", "read"}, args...)...)
	}
	got := run("--account", "alice")
	id := strings.TrimSpace(got.out)
	if got.code != exitOK || s.present(t, "d9428888-122b-41e1-b85c-61fa1f9d5c2e") != "active" || s.stored(t, id).Account != "alice" ||
		!strings.Contains(got.err, `left out "old": it has expired`) || !strings.Contains(got.err, "as max_lifetime has it") || !strings.Contains(got.err, "Imported 1 of 2 tokens.") {
		t.Errorf("%+v", got)
	}
	if got := run("-o", "json"); got.code != exitOK || !strings.Contains(got.out, `{"imported":[],"skipped":[{"name":"ci","reason":"it has been imported already"}`) {
		t.Errorf("%+v", got)
	}
	if got := run("--account", "bob"); got.code != exitUsage || !strings.Contains(got.err, "--account") || strings.Contains(got.err, "SECRET") {
		t.Errorf("%+v", got)
	}
}

// TestCommandImportMany imports more tokens than one call of the admin API takes.
func TestCommandImportMany(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	const count = 450
	var tokens []string
	for i := range count {
		tokens = append(tokens, fmt.Sprintf(`{"token_type":"Bearer","name":"ci %d","value":"d9428888-122b-41e1-b85c-%012d","expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00","last_access":"2026-01-01 00:00:00-00:00","usage_count":1}`, i, i))
	}
	record := `{"tokens":[` + strings.Join(tokens, ",") + `]}`
	for _, want := range []string{"Imported 450 of 450 tokens.", "Imported 0 of 450 tokens."} {
		got := runCommand(&console{in: strings.NewReader(record)}, "import", "-", "--address", s.address(), "--preset", "read", "-o", "id")
		if got.code != exitOK || !strings.Contains(got.err, want) {
			t.Errorf("want %s: %d, %.300s", want, got.code, got.err)
		}
	}
	for _, last := range []int{0, 99, 100, count - 1} {
		if status := s.present(t, fmt.Sprintf("d9428888-122b-41e1-b85c-%012d", last)); status != "active" {
			t.Errorf("token %d is %s", last, status)
		}
	}
	if got := runCommand(&console{in: strings.NewReader(`{"tokens":[]}`)}, "import", "-", "--address", s.address(), "--preset", "read", "-o", "json"); got.code != exitOK || !strings.Contains(got.out, `{"imported":[],"skipped":[],"capped":[]}`) {
		t.Errorf("none: %+v", got)
	}
	none := func(args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(`{"tokens":[]}`)}, append([]string{"import", "-"}, args...)...)
	}
	if got := none("--address", s.address(), "--preset", "read"); got.code != exitOK || got.out != "" || got.err != "The user record has no tokens: there is nothing to import.\n" {
		t.Errorf("none, as a table: %+v", got)
	}
	if got := none("--address", s.address(), "--preset", "read", "--account", "nobody"); got.code != exitUsage || !strings.Contains(got.err, "nobody") {
		t.Errorf("none, of an unknown account: %+v", got)
	}
	if got := none("--address", s.address(), "--scope", "nothing:here"); got.code != exitUsage || !strings.Contains(got.err, "nothing:here") {
		t.Errorf("none, of an unknown scope: %+v", got)
	}
	if got := none("--address", "127.0.0.1:1"); got.code != exitUnreachable {
		t.Errorf("none, without a server: %+v", got)
	}
}

// Of the user record, only the tokens leave this process.
func TestCommandImportSendsTokensOnly(t *testing.T) {
	t.Parallel()
	const tokens = `[{"name":"ci \u00e9","value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e","expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00"}]`
	sent := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- string(body)
		_, _ = io.WriteString(w, `{"imported":[],"skipped":[],"capped":[]}`)
	}))
	t.Cleanup(server.Close)
	run := func(record string) outcome {
		return runCommand(&console{in: strings.NewReader(record)}, "import", "-", "--address", server.Listener.Addr().String())
	}
	const rest = `"email":"SECRET@example.com","password":"SECRET","cookies":[{"value":"SECRET"}]`
	for name, record := range map[string]string{
		"the record":            `{` + rest + `,"tokens":` + tokens + `}`,
		"the whole answer":      `{"status":200,"data":{` + rest + `,"tokens":` + tokens + `}}`,
		"tokens in both":        `{"tokens":` + tokens + `,"data":{` + rest + `,"tokens":[]}}`,
		"no tokens at the top":  `{"tokens":null,"data":{` + rest + `,"tokens":` + tokens + `}}`,
		"tokens of other names": `{"Tokens":[{"value":"SECRET"}],"TOKENS":["SECRET"],"tokens":` + tokens + `}`,
		"more than 1 MiB":       `{"cookies":["` + strings.Repeat("SECRET", 1<<18) + `"],"tokens":` + tokens + `}`,
	} {
		got := run(record)
		if got.code != exitOK {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if body := <-sent; body != `{"format":"mollymawk","data":{"tokens":`+strings.ReplaceAll(tokens, `\u00e9`, "é")+`}}` && body != `{"format":"mollymawk","data":{"tokens":`+tokens+`}}` {
			t.Errorf("%s: sent %s", name, body)
		}
	}
	for name, record := range map[string]string{
		"no tokens":         `{` + rest + `}`,
		"a text":            `{` + rest + `,"tokens":"SECRET"}`,
		"an object":         `{` + rest + `,"tokens":{"SECRET":1}}`,
		"a record's record": `{"data":{"data":{` + rest + `,"tokens":` + tokens + `}}}`,
		"a list":            `[{` + rest + `,"tokens":` + tokens + `}]`,
		"other letter case": `{` + rest + `,"Tokens":` + tokens + `}`,
		"a name twice":      `{"tokens":` + tokens + `,` + rest + `,"tokens":[{"value":"SECRET"}]}`,
		"cut":               `{` + rest + `,"tokens":` + tokens,
		"more behind it":    `{"tokens":` + tokens + `} SECRET`,
		"not JSON":          `SECRET`,
	} {
		if got := run(record); got.code != exitUsage || !strings.Contains(got.err, "/api/login") || strings.Contains(got.err, "SECRET") {
			t.Errorf("%s: %+v", name, got)
		}
		select {
		case body := <-sent:
			t.Errorf("%s: sent %s", name, body)
		default:
		}
	}
}

// TestCommandStore backs up, checks and restores.
func TestCommandStore(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "kept")
	dir := t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	if got := s.run("backup", backup); got.code != exitOK || got.out != "" || !strings.Contains(got.err, "Wrote "+backup) {
		t.Fatalf("%+v", got)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got := s.run("backup", backup); got.code != exitUsage || !strings.Contains(got.err, "--force") {
		t.Errorf("%+v", got)
	}
	if got := s.run("backup", backup, "--force"); got.code != exitOK {
		t.Errorf("%+v", got)
	}
	if got := s.run("backup", "-"); got.code != exitOK || len(got.out) < 4096 || got.err != "" {
		t.Errorf("%d bytes, %s", len(got.out), got.err)
	}
	for _, args := range [][]string{{"check"}, {"check", backup}} {
		if got := s.run(args...); got.code != exitOK || got.err != "1 tokens, 1 audit entries, 0 problems\n" {
			t.Errorf("%q: %+v", args, got)
		}
	}
	store := filepath.Join(dir, "store", "tokens.db")
	if got := s.run("restore", backup, "--store", store, "--yes"); got.code != exitOK || got.err != "Restored "+store+".\n" {
		t.Errorf("%+v", got)
	}
	if got := runAsked("n\n", "restore", backup, "--store", store); got.code != exitRefused {
		t.Errorf("%+v", got)
	}
	if got := runAsked("y\n", "restore", backup, "--store", store); got.code != exitOK || !strings.Contains(got.err, "is kept as "+store+".replaced-") {
		t.Errorf("%+v", got)
	}
	b, err := bolt.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Token(tokenstore.ID([]byte(id))); err != nil {
		t.Error(err)
	}
	// In use, as by a running Caddy.
	for _, args := range [][]string{{"restore", backup, "--store", store, "--yes"}, {"check", store}} {
		if got := s.run(args...); got.code != exitUsage || !strings.Contains(got.err, "in use") {
			t.Errorf("%q: %+v", args, got)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if got := s.run("clock", "accept", "--yes"); got.code != exitOK || !strings.Contains(got.err, "Nothing had to change") {
		t.Errorf("%+v", got)
	}
}

// TestCommandScan finds tokens wherever they are in files, and asks which they are.
func TestCommandScan(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "leaked")
	gone, revoked := s.create(t, "--name", "gone")
	s.run("revoke", gone, "--yes")
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("empty", "")
	write("config.yaml", "a: 1\ntoken: "+secret+"\nb: 2\n")
	write("deep/binary", strings.Repeat("\x00\n", 10)+revoked+"\x00"+commandVector)
	// Over the end of a piece that is read at once.
	write("large", strings.Repeat("x", scanBuffer-20)+"\n"+secret+strings.Repeat("\n", scanBuffer)+secret)
	if err := os.Symlink(filepath.Join(dir, "config.yaml"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got := s.run("scan", dir, "-o", "json")
	var findings []finding
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil || got.code != exitRefused {
		t.Fatalf("%+v", got)
	}
	var found []string
	for _, f := range findings {
		name, _ := filepath.Rel(dir, f.Path)
		found = append(found, fmt.Sprint(name, ":", f.Line, " ", f.ID, " ", f.Status))
	}
	want := []string{
		"config.yaml:2 " + id + " active",
		"deep/binary:11 " + gone + " revoked", "deep/binary:11 4fQ9Zt2LkVb7 unknown",
		"large:2 " + id + " active", fmt.Sprint("large:", scanBuffer+2, " ", id, " active"),
	}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	for _, text := range []string{secret, revoked, commandVector} {
		if strings.Contains(got.out+got.err, text[17:]) {
			t.Error("a secret is shown")
		}
	}
	in := func(text string, args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(text)}, append([]string{"scan", "-"}, args...)...)
	}
	if got := in("x "+secret, "--offline"); got.code != exitRefused || !strings.Contains(got.out, "mmk_"+id+"_…") || !strings.Contains(got.out, "unchecked") {
		t.Errorf("%+v", got)
	}
	if got := in("x "+secret, "--offline", "-o", "id"); got.out != id+"\n" {
		t.Errorf("%+v", got)
	}
	for _, clean := range []string{"", "nothing", secret[:54], "xy" + secret[2:]} {
		if got := in(clean, "--offline"); got.code != exitOK || got.out != "" || got.err != "no tokens found\n" {
			t.Errorf("%+v", got)
		}
	}
	// The server isn't there: what was found is still shown, and nothing is called clean.
	if got := in(secret, "--address", "127.0.0.1:1"); got.code != exitRefused || !strings.Contains(got.out, "unchecked") || !strings.Contains(got.err, "not looked up") {
		t.Errorf("%+v", got)
	}
}

func TestCommandCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := runCommand(nil, "completion", shell); got.code != exitOK || !strings.Contains(got.out, "caddy") || len(got.out) < 1000 || got.err != "" {
			t.Errorf("%s: %d bytes, %s", shell, len(got.out), got.err)
		}
	}
	if got := runCommand(nil, "completion", "bash"); !strings.Contains(got.out, "__complete") {
		t.Error("the script doesn't ask caddy")
	}
}

// TestCommandUsage shows counts and the last use.
func TestCommandUsage(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	other, _ := s.create(t, "--name", "unused")
	credential, err := tokenstore.Prefixes{"mm"}.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	match, err := s.store.Authenticate(credential, s.store.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := s.store.Now()
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: now, IP: "203.0.113.7", UserAgent: strings.Repeat("agent ", 20), Route: "GET /api/unikernels"})
	s.store.CountDenied(match, now, "unikernel:create", "insufficient_scope")
	c := &console{now: func() time.Time { return now.Add(2 * time.Minute) }}
	got := runCommand(c, "usage", id, other, "--address", s.address())
	lines := strings.Split(got.out, "\n")
	if got.code != exitOK || !strings.HasPrefix(squeeze(lines[1]), id+" 1 1 2 m ago 203.0.113.7 agent") || !strings.HasPrefix(squeeze(lines[2]), other+" 0 0 never - - -") {
		t.Errorf("%+v", got)
	}
	for _, line := range lines {
		if len([]rune(line)) > tableWidth {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	got = s.run("usage", id, other, "-o", "json")
	var objects []struct {
		ID   string
		Uses uint64  `json:"usage_count"`
		Last *string `json:"last_used_at"`
	}
	if err := json.Unmarshal([]byte(got.out), &objects); err != nil || len(objects) != 2 || objects[0].Uses != 1 || objects[0].Last == nil || objects[1].Last != nil {
		t.Errorf("%+v", got)
	}

	// The history, of which a token has one.
	day := now.UTC().Format(time.DateOnly)
	got = s.run("usage", id, "--step", "day")
	if want := "TIME (UTC) SCOPE OUTCOME REQUESTS\n" + day + " 00:00 unikernel:create insufficient_scope 1\n" + day + " 00:00 unikernel:list ok 1\n"; squeeze(got.out) != want || got.code != exitOK {
		t.Errorf("%+v, want %q", got, want)
	}
	got = s.run("usage", id, "--step", "hour", "--from", now.Add(-time.Hour).Format(time.RFC3339), "-o", "json")
	var points []struct {
		Scope, Outcome string
		Count          uint64
	}
	if err := json.Unmarshal([]byte(got.out), &points); err != nil || len(points) != 2 || points[1].Scope != "unikernel:list" || points[1].Count != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got := s.run("usage", other, "--to", now.Format(time.RFC3339)); got.code != exitOK || got.err != "no requests\n" {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{
		{id, other, "--step", "day"}, {id, "--step", "week"}, {id, "--from", "yesterday"}, {id, "--to", "x"}, {id, "--step", "day", "-o", "id"},
		{id, "--from", "2030-01-02T00:00:00Z", "--to", "2030-01-01T00:00:00Z"},
	} {
		if got := s.run(append([]string{"usage"}, args...)...); got.code != exitUsage || got.out != "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
	if got := s.run("usage", "000000000000", "--step", "day"); got.code != exitNotFound {
		t.Errorf("%+v", got)
	}
}
