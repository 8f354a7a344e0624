package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// commandVector is the example token from the documentation.
const commandVector = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

// commandServer is an admin endpoint with the admin API.
type commandServer struct {
	*httptest.Server
	store *tokenstore.Store
	// refuse, if set, returns the refusal for every request.
	refuse func() *admin.Refusal
	// dashboards are the addresses of the dashboards.
	dashboards []string
	sessions   admin.Sessions
	// ahead is how far the store's clock is ahead of the system clock, in nanoseconds.
	ahead atomic.Int64
	// start, if set, replaces the system clock, which then stands still.
	start time.Time
}

// Now implements tokenstore.Clock.
func (s *commandServer) Now() time.Time {
	now := s.start
	if now.IsZero() {
		now = time.Now()
	}
	return now.Add(time.Duration(s.ahead.Load()))
}

// pass advances the store's clock.
func (s *commandServer) pass(d time.Duration) { s.ahead.Add(int64(d)) }

func newCommandServer(t *testing.T) *commandServer {
	t.Helper()
	return newCommandServerAt(t, time.Time{})
}

// newCommandServerAt returns a server whose clock stands still, unless start is zero.
func newCommandServerAt(t *testing.T, start time.Time) *commandServer {
	t.Helper()
	return newCommandServerOver(t, start, func(b tokenstore.Backend) tokenstore.Backend { return b })
}

// newCommandServerOver is like newCommandServerAt, with a wrapped backend.
func newCommandServerOver(t *testing.T, start time.Time,
	wrap func(tokenstore.Backend) tokenstore.Backend) *commandServer {
	t.Helper()
	file, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, backend := &commandServer{start: start}, wrap(file)
	if s.store, err = tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1, Clock: s}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	maxLifetime, err := token.ParseLifetime("2y")
	if err != nil {
		t.Fatal(err)
	}
	warnBefore, err := token.ParseLifetime("30d")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Config{
		Table: gate.Table{Routes: []gate.Route{
			{Method: "GET", Path: "/api/unikernels", Scope: token.Scope{Name: "unikernel:list"}},
			{Method: "GET", Path: "/api/both", Scope: token.Scope{Name: "unikernel:list"}},
			{Method: "GET", Path: "/api/volumes", Scope: token.Scope{Name: "volume:list"}},
		}},
		Prefixes: token.Prefixes{"mm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	other, err := gate.New(gate.Config{
		Table: gate.Table{
			Routes: []gate.Route{{Method: "GET", Path: "/api/both", Scope: token.Scope{Name: "volume:list"}}}},
		Prefixes: token.Prefixes{"mm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	api := admin.New(admin.Config{
		Gates: []gate.NamedGate{{Name: "api.example.com", Gate: g}, {Name: "other.example.com", Gate: other}},
		Store: func(context.Context) (*tokenstore.Store, error) { return s.store, nil },
		Policy: token.Policy{
			Prefixes:    token.Prefixes{"mm"},
			MaxLifetime: maxLifetime,
			Accounts:    []string{"default", "alice"},
			Catalog: token.Catalog{
				Scopes: []token.CatalogScope{{Scope: token.Scope{Name: "unikernel:list"}},
					{Scope: token.Scope{Name: "volume:list"}}},
				Presets: map[string]token.Grants{"read": {"unikernel:list"}},
			},
		},
		WarnBefore:       warnBefore,
		OperatorSessions: func() *admin.Sessions { return &s.sessions },
		Settings:         admin.Settings{Dashboards: func() []string { return s.dashboards }},
		Authenticate: func(*http.Request) (tokenstore.Actor, *admin.Refusal) {
			if s.refuse != nil {
				return tokenstore.Actor{}, s.refuse()
			}
			return tokenstore.Actor{Name: "caddy-admin"}, nil
		},
	})
	mux := http.NewServeMux()
	mux.Handle(caddymodule.EndpointMount+"/", http.StripPrefix(caddymodule.EndpointMount, api))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *commandServer) address() string { return s.Listener.Addr().String() }

// outcome is a command's result.
type outcome struct {
	code     int
	out, err string
}

// runCommand runs "caddy api-token" the way Caddy does.
func runCommand(c *console, args ...string) outcome {
	return runRoot(c, append([]string{"api-token"}, args...)...)
}

// runRoot runs "caddy" with only the command "api-token".
func runRoot(c *console, args ...string) outcome {
	var out, errs bytes.Buffer
	if c == nil {
		c = new(console)
	}
	if c.in == nil {
		c.in = strings.NewReader("")
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.after == nil {
		c.after = func(time.Duration) <-chan time.Time { return time.After(0) }
	}
	if c.out == nil {
		c.out = io.Discard
	}
	c.out, c.err = io.MultiWriter(c.out, &out), &errs
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.SetOut(&errs) // nothing should be written here, except completions
	if args[0] == "__complete" {
		root.SetOut(&out)
	}
	root.SetErr(&errs)
	cmd := &cobra.Command{Use: "api-token <command>"}
	addVerbs(cmd, c)
	root.AddCommand(cmd)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	code := 0
	if err != nil {
		code = exitFailed
		_, _ = fmt.Sscanf(err.Error(), "exiting with status %d", &code)
	}
	return outcome{code, out.String(), errs.String()}
}

// runAsked runs a command on a simulated terminal and answers its prompt.
func runAsked(answer string, args ...string) outcome {
	return runCommand(&console{in: strings.NewReader(answer), interactive: true}, args...)
}

func (s *commandServer) run(args ...string) outcome {
	return runCommand(nil, append(args, "--address", s.address())...)
}

// create creates a token through the command line and returns the token's ID and secret.
func (s *commandServer) create(t *testing.T, args ...string) (id, secret string) {
	t.Helper()
	got := s.run(append([]string{"create", "--expires-in", "90d", "--preset", "read"}, args...)...)
	secret = strings.TrimSuffix(got.out, "\n")
	credential, err := token.Prefixes{"mm"}.Parse(secret)
	if got.code != exitOK || err != nil {
		t.Fatalf("create: got unexpected outcome %+v", got)
	}
	return credential.ID.String(), secret
}

// TestCommandUsageErrors checks that a usage error exits with code 2, is printed only once and
// changes nothing.
func TestCommandUsageErrors(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "kept")
	good := []string{"create", "--name", "a", "--preset", "read", "--expires-in", "90d"}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"nope"}, `unknown command "nope"`},
		{[]string{"renew", id}, `unknown command "renew"`},
		{[]string{"lst"}, `unknown command "lst"; did you mean "list"?`},
		{[]string{"create"}, "Error: --name: is required: say what the key is for\n" +
			"       --expires-in: is required, for example 90d; or give --expires-at\n" +
			"       --scope: give at least one scope, or a --preset\n"},
		{[]string{"create", "--name", "a", "--expires-in", "5m", "--expires-at", "now", "--quota", "1"},
			"Error: --scope: give at least one scope, or a --preset\n" +
				"       --expires-in: \"5m\" could be minutes or months: write 5mo for months or 300s for minutes\n" +
				"       --expires-at: write a time with a time zone, for example 2030-12-31T23:59:59Z\n" +
				"       --quota: write, for example, 10000/month\n"},
		{[]string{"create", "--name", "a", "--preset", "read"}, "--expires-in: is required"},
		{[]string{"create", "--name", "a", "--expires-in", "90d"}, "--scope: give at least one scope"},
		{[]string{"create", "ci"}, "--name"},
		{[]string{"create", "--nope"}, "unknown flag: --nope"},
		{[]string{"create", "--prest", "read"}, `unknown flag: --prest; did you mean "--preset"?`},
		{with("--preset", "raed"), `; did you mean "read"?`},
		{with("--preset", "", "--scope", "unikernel:lits", "--account", "alise"),
			`is not configured; did you mean "alice"? The configured accounts are default, alice` + "\n       " +
				`--scope: there is no "unikernel:lits"; did you mean "unikernel:list"? The choices are *, `},
		{with("--preset", "", "--scope", "unikernel:lits"),
			`is not a known scope; did you mean "unikernel:list"? The known scopes are unikernel:list, `},
		{with("--preset", "", "--scope", "unikernel:list,volume:list"),
			"--scope: repeat --scope for each scope: --scope unikernel:list --scope volume:list\n"},
		{with("--allowed-ip", "10.0.0.0/8, ::1"),
			"repeat --allowed-ip for each address: --allowed-ip 10.0.0.0/8 --allowed-ip ::1"},
		{with("--resource", "unikernel/a,unikernel/b-*"),
			"repeat --resource for each resource: --resource unikernel/a --resource 'unikernel/b-*'"},
		{[]string{"edit", id, "--scope", "volume:list,x"}, "repeat --scope for each scope"},
		{[]string{"import", "/nonexistent/file", "--scope", "volume:list,x"}, "repeat --scope for each scope"},
		{[]string{"explain", "GET", "/", "--token-id", id, "--resource", "a/b,c/d"},
			"repeat --resource for each resource"},
		{[]string{"edit", id, "--old-secret-until", "2020-01-01T00:00:00Z"}, "--old-secret-until: "},
		{[]string{"list", "--status", "revokd", "--sort", "names"}, `; did you mean "revoked"?`},
		{[]string{"list", "--columns", "id,nmae"},
			`--columns: there is no "nmae"; did you mean "name"? The choices are id, name, account, `},
		{[]string{"list", "--columns", "id", "-o", "json"}, "--columns: json and id have no columns"},
		{[]string{"create", "--name"}, "needs an argument"},
		{with("--expires-in", "5m"), "--expires-in"},
		{with("--expires-at", "tomorrow"), "--expires-at"},
		{with("--expires-at", "2027-01-01T00:00:00Z"), "--expires-at"},
		{with("--not-before", "2027-01-01"), "--not-before"},
		{with("--kind", "API"), "--kind"},
		{with("--account", "bob"), "--account"},
		{with("--preset", "nope"), "--preset"},
		{with("--allowed-ip", "10.0.0.1/8"), "--allowed-ip: \"10.0.0.1/8\" has bits set"},
		{with("--rate-limit", "60"), "60/1m"},
		{with("--rate-limit", "x/1m"), "60/1m"},
		{with("--rate-limit", "60/1mo"), "--rate-limit: window: write a number and a unit"},
		{with("--rate-limit", "2000000000/1m"), "--rate-limit: requests must be from 1 to 1000000000"},
		{with("--quota", "0/month"), "10000/month"},
		{with("--quota", "10000/year"), `--quota: the period must be "day" or "month"`},
		{with("--metadata", "x"), "key=value"},
		{with("--metadata", "x=1", "--metadata", "x=2"), "specified twice"},
		{with("-o", "yaml"), "--output: must be table or json"},
		{with("-o", "id"), "--output: must be table or json"},
		{[]string{"list", "x"}, "only flags"},
		{[]string{"list", "--limit", "x"}, "invalid argument"},
		{[]string{"list", "--limit", "0"}, "--limit: must be"},
		{[]string{"list", "--unused-since", "90d"}, "--unused-since: write a time with a time zone"},
		{[]string{"list", "--limit", "201"}, "--limit: must be"},
		{[]string{"list", "--status", "nope"}, "--status: must be"},
		{[]string{"list", "--sort", "nope"}, "--sort: must be"},
		{[]string{"list", "--cursor", "nope"}, "--cursor: isn't"},
		{[]string{"list", "-o", ""}, "table, wide, json, csv or id"},
		{[]string{"show"}, "missing key"},
		{[]string{"show", ""}, "is empty"},
		{[]string{"show", id, "000000000000"}, "takes one key"},
		{[]string{"show", "mmk_000000000000_x"}, "passed as an argument"},
		{[]string{"delete"}, "missing key"},
		{[]string{"delete", id}, "--yes"},
		{[]string{"delete", "d9428888-122b-41e1-b85c-61fa1f9d5c2e", "--yes"}, "12 characters"},
		{[]string{"edit"}, "missing key"},
		{[]string{"edit", id}, "no changes given"},
		{[]string{"edit", id, "000000000000", "--name", "x"}, "takes one key"},
		{[]string{"edit", id, "--name", ""}, "--name: is required"},
		{[]string{"edit", id, "--scope", "x:y"}, "--scope"},
		{[]string{"edit", id, "--scope", "none"}, "--scope"},
		{[]string{"edit", id, "--preset", "read", "--scope", "unikernel:list"}, "--preset"},
		{[]string{"edit", id, "--expires-in", "5m"}, "--expires-in"},
		{[]string{"edit", id, "--expires-at", "tomorrow"}, "--expires-at"},
		{[]string{"edit", id, "--not-before", "tomorrow"}, "--not-before"},
		{[]string{"edit", id, "--rate-limit", "60"}, "60/1m"},
		{[]string{"edit", id, "--rate-limit", "60/1w"}, "--rate-limit: window: write a number and a unit"},
		{[]string{"edit", id, "--metadata", "x"}, "key=value"},
		{[]string{"edit", id, "--metadata", "x=1", "--remove-metadata", "x"}, "also given"},
		{[]string{"rotate"}, "missing key"},
		{[]string{"rotate", id, "--grace", "never"}, "--grace"},
		{[]string{"rotate", id, "--grace", "0s"}, "--yes"},
		{[]string{"rotate", id, "-o", "id"}, "--output: must be table or json"},
		{[]string{"rotate", id, "--expires-in", "3y"}, "--expires-in"},
		{[]string{"revoke", id}, "--yes"},
		{[]string{"revoke"}, "missing key"},
		{[]string{"lookup", "x"}, "only flags"},
		{[]string{"lookup"}, "is empty"},
		{[]string{"lookup", "--token-file", "/nonexistent/file"}, "no such file"},
		{[]string{"usage"}, "missing key"},
		{[]string{"audit", "x"}, "only flags"},
		{[]string{"audit", "--limit", "0"}, "--limit: must be"},
		{[]string{"audit", "-o", "id"}, "table, wide, json or csv"},
		{[]string{"explain", "GET"}, "a method and a path"},
		{[]string{"explain", "GET", "/"}, "--token-id"},
		{[]string{"explain", "GET", "/", "--token-id", id, "--token-file", "-"}, "--token-id"},
		{[]string{"explain", "GET", "api", "--token-id", id}, "path"},
		{[]string{"explain", "GET", "/", "--token-id", id, "--ip", "x"}, "--ip"},
		{[]string{"import"}, "pass the file"},
		{[]string{"import", "/nonexistent/file"}, "no such file"},
		{[]string{"import", "-"}, "isn't JSON"},
		{[]string{"backup"}, "pass the file"},
		{[]string{"backup", "/nonexistent/dir/file"}, "no such file"},
		{[]string{"check", "a", "b"}, "one file"},
		{[]string{"check", "/nonexistent/file"}, "no such file"},
		{[]string{"restore"}, "pass the backup"},
		{[]string{"restore", "x"}, "--yes"},
		{[]string{"restore", "/nonexistent/file", "--yes"}, "no such file"},
		{[]string{"clock"}, "accept"},
		{[]string{"clock", "reset"}, "accept"},
		{[]string{"clock", "accept"}, "--yes"},
		{[]string{"scan"}, "pass the paths to search"},
		{[]string{"scan", "/nonexistent/file"}, "no such file"},
		{[]string{"scan", "-", "--prefix", "M"}, "--prefix"},
		{[]string{"completion"}, "name of a shell"},
		{[]string{"completion", "tcsh"}, "name of a shell"},
	} {
		args := test.args
		if len(args) > 0 && !slices.Contains([]string{"nope", "lst", "renew"}, args[0]) {
			args = slices.Insert(slices.Clone(args), 1, "--address", s.address())
		}
		got := runCommand(nil, args...)
		if got.code != exitUsage || !strings.Contains(got.err, test.want) || got.out != "" {
			t.Errorf("%q: got %+v, want an error that contains %q", test.args, got, test.want)
		}
		if strings.Count(got.err, "Error") != 1 {
			t.Errorf("%q: got standard error %q, want exactly one error", test.args, got.err)
		}
	}
	if got := s.run("list", "-o", "id"); got.out != id+"\n" {
		t.Errorf("listing the tokens: got %+v", got)
	}
}

// TestCommandRefusesTokensAsArguments checks that commands refuse a token in any argument and
// don't repeat it in the error.
func TestCommandRefusesTokensAsArguments(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{commandVector, "zza" + commandVector[3:], commandVector[:len(commandVector)-1]} {
		for _, args := range [][]string{
			{"show", secret},
			{"delete", "--yes", secret},
			{"delete", "--yes", "000000000000", secret},
			{"list", secret},
			{"list", "--q", secret},
			{"list", "--cursor=" + secret},
			{"create", "--name", secret},
			{"create", "--metadata", "a=" + secret},
			{"create", "--scope", "x", "--scope", secret},
			{"create", "--" + secret},
			{"list", "--limit", secret},
			{secret},
			{"list", "--address", secret},
		} {
			got := runCommand(nil, args...)
			if got.code != exitUsage || got.out != "" {
				t.Errorf("%q: got %+v, want a usage error", args, got)
			}
			if strings.Contains(got.err, secret[20:]) {
				t.Errorf("%q: the error repeats the secret: %s", args, got.err)
			}
		}
	}
}

func TestCommandExitCodes(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	refusal := func(status int, code string) func() *admin.Refusal {
		return func() *admin.Refusal {
			return &admin.Refusal{Problem: problem.Problem{Status: status, Code: code, Title: "t",
				Detail: "the detail"}}
		}
	}
	for _, test := range []struct {
		status, want int
		code         string
	}{
		{400, exitUsage, "invalid_json"},
		{401, exitRefused, "missing_token"},
		{403, exitRefused, "admin_exposed"},
		{404, exitNotFound, "not_found"},
		{405, exitUsage, "method_not_allowed"},
		{409, exitConflict, "conflict"},
		{412, exitConflict, "precondition_failed"},
		{413, exitUsage, "body_too_large"},
		{422, exitConflict, "idempotency_mismatch"},
		{429, exitUnreachable, "too_many_failures"},
		{500, exitUnreachable, "internal"},
		{503, exitUnreachable, "store_unavailable"},
	} {
		s.refuse = refusal(test.status, test.code)
		for _, args := range [][]string{{"list"}, {"show", "000000000000"}, {"delete", "--yes", "000000000000"},
			{"create", "--name", "a", "--preset", "read", "--expires-in", "1d"}} {
			got := s.run(args...)
			if got.code != test.want || !strings.Contains(got.err, "the detail") ||
				strings.Count(got.err, "Error") != 1 || got.out != "" {
				t.Errorf("%v, status %d: got %+v, want exit code %d", args, test.status, got, test.want)
			}
		}
	}
}
