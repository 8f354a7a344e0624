package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func TestCommandCreate(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	got := s.run("create", "--name", "ci", "--expires-in", "90d", "--account", "alice", "--scope", "volume:list",
		"--scope", "unikernel:*",
		"--allowed-ip", "203.0.113.0/24", "--allowed-ip", "::1", "--metadata", "team=infra", "--metadata",
		"url=https://x/?a=b,c", "--not-before", "2026-01-01T00:00:00+01:00")
	secret := strings.TrimSuffix(got.out, "\n")
	credential, err := token.Prefixes{"mm"}.Parse(secret)
	if got.code != exitOK || err != nil {
		t.Fatalf("got %+v, want only the token on standard output", got)
	}
	if strings.Contains(got.err, secret[20:]) ||
		!strings.Contains(got.err, `Created API key "ci" (`+credential.ID.String()+`)`) {
		t.Errorf("got unexpected standard error: %s", got.err)
	}
	stored, err := s.store.Get(credential.ID)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(stored.Token.Account, stored.Token.Scopes, stored.Token.AllowedIPs, stored.Token.Metadata,
		stored.Token.NotBefore); text !=
		"alice[unikernel:* volume:list] [203.0.113.0/24 ::1/128] map[team:infra url:https://x/?a=b,c] "+
			"2025-12-31 23:00:00 +0000 UTC" {
		t.Errorf("the store contains an unexpected token: %s", text)
	}

	if !strings.Contains(got.err, "\nScopes: unikernel:*, volume:list.\n") || strings.Contains(got.err, "same name") {
		t.Errorf("got unexpected standard error: %s", got.err)
	}
	got = runAsked("", "create", "--name", "ci", "--expires-in", "90d", "--preset", "read", "--address", s.address())
	if got.code != exitOK ||
		!strings.Contains(got.err, "Another active key has the same name ("+credential.ID.String()+")") {
		t.Errorf("create: got unexpected outcome %+v", got)
	}

	got = s.run("create", "--name", "ops", "--kind", "admin", "--expires-in", "3600", "-o", "json")
	var object struct{ ID, Kind, Token string }
	if err := json.Unmarshal([]byte(got.out), &object); err != nil || object.Kind != "admin" ||
		!strings.HasPrefix(object.Token, "mma_"+object.ID) {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
	got = s.run("create", "--name", "at", "--preset", "read", "--expires-at",
		time.Now().Add(48*time.Hour).Format(time.RFC3339))
	if got.code != exitOK || !strings.Contains(got.err, "(in 2 d)") {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
}

// TestRights checks the sentence about a new key's rights.
func TestRights(t *testing.T) {
	t.Parallel()
	scopes := strings.Split("abcdefgh", "")
	for want, key := range map[string]client.Token{
		"Scopes: a, b.": {Scopes: scopes[:2]},
		"Scopes: a, b, c, d, e, f. Only for: unikernel/web-*.": {Scopes: scopes[:6],
			Resources: []string{"unikernel/web-*"}},
		"Scopes: a, b, c, d, e and 3 more.": {Scopes: scopes},
	} {
		if got := rights(key); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCommandList(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	if got := s.run("list"); got.code != exitOK || got.out != "" || got.err != "no API keys\n" {
		t.Errorf("empty table: got unexpected outcome %+v", got)
	}
	if got := s.run("list", "-o", "json"); got.code != exitOK || got.out != "[]\n" || got.err != "" {
		t.Errorf("empty array: got unexpected outcome %+v", got)
	}
	if got := s.run("list", "-o", "id"); got.code != exitOK || got.out != "" {
		t.Errorf("no IDs: got unexpected outcome %+v", got)
	}
	used, secret := s.create(t, "--name", "used")
	unused, _ := s.create(t, "--name", "never used", "--preset", "", "--scope", "unikernel:*", "--scope", "volume:list",
		"--scope", "volume:*", "--scope", "*")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	now := s.store.Now()
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: now})
	clock := &console{now: func() time.Time { return now.Add(3*time.Hour + time.Second) }}
	got := runCommand(clock, "list", "--address", s.address())
	want := "ID            NAME        ACCOUNT  STATUS  SCOPES                              EXPIRES  LAST USED  " +
		"USES\n" +
		unused + "  never used  default  active  *,unikernel:*,volume:*,volume:list  in 3 mo  never         0\n" +
		used + "  used        default  active  unikernel:list                      in 3 mo  3 h ago       1\n"
	if got.out != want {
		t.Errorf("got the table\n%s\nwant\n%s", got.out, want)
	}
	for _, test := range []struct{ args, want string }{
		{"-o id", unused + "\n" + used + "\n"},
		{"-o id --sort created_at", used + "\n" + unused + "\n"},
		{"-o id --never-used", unused + "\n"},
		{"-o id --never-used=false", used + "\n"},
		{"-o id --q NEVER", unused + "\n"},
		{"-o id --scope volume:list", unused + "\n"},
		{"-o id --account alice", ""},
		{"-o id --status expired", ""},
	} {
		if got := s.run(append([]string{"list"}, strings.Fields(test.args)...)...); got.code != exitOK ||
			got.out != test.want {
			t.Errorf("%s: got unexpected outcome %+v", test.args, got)
		}
	}
	got = s.run("list", "-o", "id", "--limit", "1", "--count")
	if !strings.HasPrefix(got.err, "2 in total\nThere are more entries: add --cursor ") || got.out != unused+"\n" {
		t.Fatalf("list: got unexpected outcome %+v", got)
	}
	cursor := strings.TrimSpace(got.err[strings.LastIndex(got.err, " "):])
	if got := s.run("list", "-o", "id", "--cursor", cursor); got.out != used+"\n" || got.err != "" {
		t.Errorf("list: got unexpected outcome %+v", got)
	}
}

// squeeze replaces each run of spaces with a single space, because the tests shouldn't depend
// on column widths.
func squeeze(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// TestCommandListExpiring checks that the exit code shows whether any tokens are about to
// expire.
func TestCommandListExpiring(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	s.create(t, "--name", "long")
	if got := s.run("list", "--status", "expiring", "-o", "id"); got.code != exitOK {
		t.Errorf("no expiring tokens: got unexpected outcome %+v", got)
	}
	soon, _ := s.create(t, "--name", "soon", "--expires-in", "28d")
	if got := s.run("list", "--status", "expiring", "-o", "id"); got.code != exitOK || got.out != "" {
		t.Errorf("token that expires in 28 days: got unexpected outcome %+v", got)
	}
	s.pass(22 * 24 * time.Hour)
	if got := s.run("list", "--status", "expiring", "-o", "id"); got.code != exitRefused || got.out != soon+"\n" ||
		got.err != "" {
		t.Errorf("one expiring token: got unexpected outcome %+v", got)
	}
	if got := s.run("list", "--status", "active", "-o", "id"); got.code != exitOK {
		t.Errorf("active tokens: got unexpected outcome %+v", got)
	}
}

// TestCommandListJoinsPages checks that list combines all of the server's pages into a single
// JSON array.
func TestCommandListJoinsPages(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	const n = 205
	policy := token.Policy{Prefixes: token.Prefixes{"mm"}}
	lifetime, err := token.ParseLifetime("1d")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		draft := token.Draft{Kind: token.KindAdmin, Name: fmt.Sprint("token ", i),
			Expiry: token.Expiry{ExpiresIn: lifetime}}
		if _, _, err := s.store.Create(policy, draft, tokenstore.Actor{}); err != nil {
			t.Fatal(err)
		}
	}
	got := s.run("list", "--output", "json")
	var tokens []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(got.out), &tokens); err != nil {
		t.Fatal(err)
	}
	if len(tokens) != n || tokens[0].Name != "token 204" || tokens[n-1].Name != "token 0" {
		t.Errorf("got %d tokens, from %v to %v", len(tokens), tokens[0], tokens[len(tokens)-1])
	}
	if got := s.run("list", "-o", "id"); strings.Count(got.out, "\n") != n {
		t.Errorf("got %d IDs", strings.Count(got.out, "\n"))
	}
	if got := s.run("list"); strings.Count(got.out, "\n") != n+1 {
		t.Errorf("got %d lines", strings.Count(got.out, "\n"))
	}
}

func TestCommandShow(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci", "--metadata", "b=2", "--metadata", "a=1", "--allowed-ip", "10.0.0.0/8")
	got := s.run("show", id)
	for _, line := range []string{"id " + id, "name ci", "hint mmk_" + id + "_…", "status active", "account default",
		"scopes unikernel:list",
		"allowed ips 10.0.0.0/8", "metadata a=1\nmetadata b=2", "created by caddy-admin", "not before -",
		"last used never", "uses 0"} {
		if !strings.Contains(squeeze(got.out), line+"\n") {
			t.Errorf("%q is missing from the output\n%s", line, got.out)
		}
	}
	if got.code != exitOK || got.err != "" || strings.Contains(got.out, secret[20:]) {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
	if got := s.run("show", id, "-o", "json"); !json.Valid([]byte(got.out)) ||
		!strings.HasPrefix(got.out, `{"id":"`+id) {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
	if got := s.run("show", id, "-o", "id"); got.out != id+"\n" {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
	if got := s.run("show", "000000000000"); got.code != exitNotFound || got.out != "" ||
		strings.Count(got.err, "\n") != 1 {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
}

func TestCommandDelete(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	a, _ := s.create(t, "--name", "a")
	b, _ := s.create(t, "--name", "b")
	c, _ := s.create(t, "--name", "c")
	ask := func(answer string, args ...string) outcome {
		return runAsked(answer, append(args, "--address", s.address())...)
	}
	// Unless the user answers yes on the terminal, nothing is deleted.
	for _, answer := range []string{"", "\n", "n\n", "yesterday\n"} {
		if got := ask(answer, "delete", a, b); got.code != exitRefused ||
			!strings.Contains(got.err, a+"  a\n  active, never used\n") ||
			!strings.Contains(got.err, "Delete 2 keys with their usage history?") {
			t.Errorf("answer %q: got unexpected outcome %+v", answer, got)
		}
	}
	if got := ask("y\n", "delete", a, "000000000000"); got.code != exitNotFound ||
		!strings.Contains(got.err, "nothing was changed") {
		t.Errorf("delete: got unexpected outcome %+v", got)
	}
	if got := s.run("list", "-o", "id"); strings.Count(got.out, "\n") != 3 {
		t.Fatalf("list: got unexpected outcome %+v", got)
	}
	if got := ask("Y\n", "delete", a); got.code != exitOK ||
		!strings.Contains(got.err, `Deleted "a" (`+a+") and its usage history.") {
		t.Errorf("delete: got unexpected outcome %+v", got)
	}
	// delete continues with the remaining tokens after one that doesn't exist.
	if got := s.run("delete", "--yes", b, a, c, c); got.code != exitNotFound ||
		!strings.Contains(got.err, `Deleted "c" (`+c) || strings.Count(got.err, c) != 1 {
		t.Errorf("delete: got unexpected outcome %+v", got)
	}
	if got := s.run("list", "-o", "id"); got.out != "" {
		t.Errorf("list: got unexpected outcome %+v", got)
	}
}

// TestCommandEscapes checks that a misbehaving server can't send control characters to the
// terminal.
func TestCommandEscapes(t *testing.T) {
	t.Parallel()
	const name = "\x1b[2J\u009b\u202ereversed\u00ad"
	object, err := json.Marshal(map[string]any{"id": "4fQ9Zt2LkVb7", "name": name, "account": name,
		"scopes": []string{name}, "status": name,
		"last_used_user_agent": name, "metadata": map[string]string{name: name}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == caddymodule.EndpointMount+"/tokens":
			_, _ = fmt.Fprintf(w, `{"data":[%s],"next_cursor":null}`, object)
		case strings.HasSuffix(r.URL.Path, "4fQ9Zt2LkVb7"):
			_, _ = w.Write(object)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"not_found","detail":"\u001b[2J"}`)
		}
	}))
	t.Cleanup(server.Close)
	for _, args := range [][]string{
		{"list"}, {"list", "-o", "json"}, {"list", "-o", "id"},
		{"show", "4fQ9Zt2LkVb7"}, {"show", "4fQ9Zt2LkVb7", "-o", "json"}, {"show", "000000000000"},
	} {
		got := runCommand(nil, append(args, "--address", server.Listener.Addr().String())...)
		if i := strings.IndexFunc(got.out+got.err,
			func(r rune) bool { return r != '\n' && printable(string(r)) != string(r) }); i >= 0 {
			t.Errorf("%q: got unexpected output %q", args, got.out+got.err)
		}
		if strings.Contains(strings.Join(args, " "), "json") {
			var value any
			if err := json.Unmarshal([]byte(got.out), &value); err != nil ||
				!strings.Contains(fmt.Sprint(value), name) {
				t.Errorf("%q: escaping changed the meaning of the JSON: %q %v", args, got.out, err)
			}
		}
	}
}

// unwritable is a standard output on a full disk.
type unwritable struct{}

func (unwritable) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestCommandReportsLostSecret(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	var errs bytes.Buffer
	c := &console{in: strings.NewReader(""), out: unwritable{}, err: &errs, now: time.Now}
	cmd := &cobra.Command{Use: "api-token"}
	addVerbs(cmd, c)
	cmd.SetArgs([]string{"create", "--name", "a", "--preset", "read", "--expires-in", "90d", "--address", s.address()})
	if err := cmd.Execute(); err == nil || !strings.Contains(errs.String(), "delete the key") ||
		strings.Contains(errs.String(), "mmk_") {
		t.Errorf("got error %v, standard error %q", err, errs.String())
	}
	if got := s.run("list", "-o", "id"); !strings.Contains(errs.String(), strings.TrimSpace(got.out)) {
		t.Errorf("the error doesn't name the key's ID: %s", errs.String())
	}
}
