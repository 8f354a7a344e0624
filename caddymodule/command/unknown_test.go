package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestUnknownCommand checks that a misspelled verb is found out with any flags around it.
func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"craete --name x": `unknown command "craete"; did you mean "create"?`,
		"craete --name x --expires-in 90d --preset deploy": `unknown command "craete"; did you mean "create"?`,
		"--name x craete":                          `unknown command "craete"; did you mean "create"?`,
		"--address localhost:2019 craete --name x": `unknown command "craete"; did you mean "create"?`,
		"-o json lsit":                             `unknown command "lsit"; did you mean "list"?`,
		"--output=json lsit -c file":               `unknown command "lsit"; did you mean "list"?`,
		"--nmae x craete":                          `unknown command "craete"; did you mean "create"?`,
		"--yes revke ci":                           `unknown command "revke"; did you mean "revoke"?`,
		"craete --help":                            `unknown command "craete"; did you mean "create"?`,
		"help craete":                              `unknown command "craete"; did you mean "create"?`,
		"nothing --like list":                      `unknown command "nothing"` + "\n",
		"remove ci":                                `unknown command "remove"; did you mean "delete"?`,
		"presets":                                  `unknown command "presets"; did you mean "scopes"?`,
		"rm ci --yes":                              `unknown command "rm"; did you mean "delete"?`,
		"re ci":                                    `unknown command "re"; did you mean "`,
		"--yes revoke ci":                          "before its flags: caddy api-token revoke ci --yes\n",
		"--name x":                                 "caddy api-token takes a command before the flag --name\n",
		"create --expires 30d":                     `--expires; did you mean "--expires-in" or "--expires-at"?`,
		"edit ci --remov owner":                    `unknown flag: --remov; did you mean "--remove-metadata"?`,
	} {
		got := runCommand(nil, strings.Fields(line)...)
		if got.code != exitUsage || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("%s: got %+v, want %q", line, got, want)
		}
	}
}

// TestHelpCommand checks the ways to get help.
func TestHelpCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":             "Usage:\n  caddy api-token <command>",
		"--help":       "Usage:\n  caddy api-token <command>",
		"-h":           "Usage:\n  caddy api-token <command>",
		"help":         "Usage:\n  caddy api-token <command>",
		"help list":    "Usage:\n  caddy api-token list [flags]",
		"list --help":  "Usage:\n  caddy api-token list [flags]",
		"--help list":  "Usage:\n  caddy api-token list [flags]",
		"help list -h": "Usage:\n  caddy api-token list [flags]",
	} {
		if got := runCommand(nil, strings.Fields(line)...); got.code != exitOK || !strings.Contains(got.out, want) {
			t.Errorf("%q: got %+v, want %q", line, got, want)
		}
	}
	if names := Names(); !slices.Contains(names, "whoami") || slices.Contains(names, "") {
		t.Errorf("got the names %q", names)
	}
}

// TestOwnName checks that usage lines, examples and errors name the program as the user runs it.
func TestOwnName(t *testing.T) { //nolint:paralleltest // sets a variable of Caddy
	const program = "go run ./cmd/firstrun"
	caddy.CustomBinaryName, StartCommand = program, program
	t.Cleanup(func() { caddy.CustomBinaryName, StartCommand = "", "" })
	for _, name := range append(Names(), "") {
		args := strings.Fields(name + " --help")
		got := runCommand(nil, args...)
		if !strings.Contains(got.out, "\n  "+strings.TrimSpace(program+" api-token "+name)) ||
			strings.Contains(got.out, "caddy api-token") {
			t.Errorf("the help of %q names another program:\n%s", name, got.out)
		}
	}
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "twin", "--allowed-ip", "10.0.0.0/8")
	s.create(t, "--name", "twin")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountDenied(match, tokenstore.Refusal{Code: "ip_denied", Time: s.store.Now(), IP: "203.0.113.7"})
	s.store.CountDenied(match, tokenstore.Refusal{Code: "store_unavailable", Time: s.store.Now()})
	for line, want := range map[string]string{
		"show twin":                      " show " + id + " --address " + s.address() + "   # active",
		"rotate " + id:                   " edit " + id + " --old-secret-until none --address " + s.address(),
		"refusals " + id:                 " edit " + id + " --allowed-ip 10.0.0.0/8 --allowed-ip 203.0.113.7 --address",
		"status":                         " backup tokens-$(date +%F).db --address",
		"show nothing":                   " list --q nothing --address",
		"show":                           " list --address",
		"show mmk_" + id + "_x":          " rotate " + id + " --grace 0s",
		"list --q " + commandVector:      " rotate 4fQ9Zt2LkVb7 --grace 0s",
		"create --name x --preset nope ": " create --help'",
	} {
		got := s.run(strings.Fields(line)...)
		if !strings.Contains(got.err, program+" api-token"+want) ||
			strings.Contains(got.out+got.err, "caddy api-token") {
			t.Errorf("%s: got %+v, want %q", line, got, want)
		}
	}
	caddy.CustomBinaryName = "my-caddy"
	if got := s.run("show", "twin"); !strings.Contains(got.err, "  my-caddy api-token show "+id) {
		t.Errorf("got unexpected outcome %+v", got)
	}
	caddy.CustomBinaryName = program
	got := runAsked("a name\n\n\n\n", "create", "--address", s.address())
	if !strings.Contains(got.err, ": "+program+" api-token create --name 'a name' --expires-in 90d ") {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
	for line, want := range map[string]string{
		"craete":              "See '" + program + " api-token --help'.",
		"create --nope":       "See '" + program + " api-token create --help'.",
		"--yes revoke ci":     program + " api-token revoke ci --yes",
		"show no --sometimes": "See '" + program + " api-token show --help'.",
		"list --address localhost:1": "Error: no gate is running at localhost:1 (connect: connection refused). " +
			"Start it with " + program + ".\n",
		"completion bash": "can't complete the arguments of " + program,
	} {
		if got := runCommand(nil, strings.Fields(line)...); !strings.Contains(got.err, want) ||
			strings.Contains(got.err, "caddy api-token") {
			t.Errorf("%s: got %+v, want %q", line, got, want)
		}
	}
}
