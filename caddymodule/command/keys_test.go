package command

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestCommandFindsKeys checks that commands find keys by ID, hint and exact name.
func TestCommandFindsKeys(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "my ci")
	s.create(t, "--name", "my ci, staging")
	named, _ := s.create(t, "--name", "releasebot12") // looks like an ID
	same, _ := s.create(t, "--name", id)
	first, _ := s.create(t, "--name", "twin")
	second, _ := s.create(t, "--name", "twin")
	for arg, want := range map[string]string{
		id:                    id,
		"my ci":               id,
		"mmk_" + id:           id,
		"mmk_" + id + "_":     id,
		"mmk_" + id + "_…":    id,
		"mmk_" + id + "_...":  id,
		"releasebot12":        named,
		"mmk_" + same + "_…":  same,
		"mma_" + named + "_…": named,
	} {
		if got := s.run("show", arg, "-o", "id"); got.code != exitOK || got.out != want+"\n" {
			t.Errorf("%q: got %+v, want %s", arg, got, want)
		}
	}
	for _, args := range [][]string{
		{"edit", "my ci", "--metadata", "a=b"}, {"rotate", "my ci"}, {"disable", "my ci"}, {"enable", "my ci"},
		{"usage", "my ci"}, {"usage", "my ci", "--step", "day"}, {"audit", "--token-id", "my ci"},
		{"explain", "GET", "/api/unikernels", "--token-id", "my ci"}, {"revoke", "my ci", "--yes"},
		{"delete", "my ci", id, "--yes"},
	} {
		if got := s.run(args...); got.code != exitOK {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	// After the deletion, the ID is only a name.
	if got := s.run("show", id, "-o", "id"); got.out != same+"\n" {
		t.Errorf("got unexpected outcome %+v", got)
	}
	for arg, want := range map[string]string{
		"my":                                   `no API key has`,
		"MY CI, staging":                       `but one is named "my ci, staging"; names are case-sensitive`,
		"it's":                                 `caddy api-token list --q 'it'\''s' --address`,
		"000000000000":                         "No token has this ID",
		"d9428888-122b-41e1-b85c-61fa1f9d5c2e": "a UUID may be the secret",
		"mmk_" + id + "_N3s":                   "  caddy api-token rotate " + id + " --grace 0s\n",
		"twin":                                 `2 API keys are named "twin"`,
	} {
		for _, args := range [][]string{{"show", arg}, {"delete", arg, "--yes"}, {"usage", arg, "--step", "day"}} {
			got := s.run(args...)
			if got.code != exitNotFound && got.code != exitUsage || got.out != "" || !strings.Contains(got.err, want) {
				t.Errorf("%q: got unexpected outcome %+v", args, got)
			}
		}
	}
	got := s.run("revoke", "twin", "--yes")
	for _, id := range []string{first, second} {
		line := "         caddy api-token revoke " + id + " --address " + s.address() + " --yes   # active, created "
		if got.code != exitUsage || !strings.Contains(got.err, "\n"+line) {
			t.Errorf("%q is missing from %+v", line, got)
		}
	}
}

// TestCommandSuggestsWorkingCommands runs the commands that are suggested for a name that several
// keys have.
func TestCommandSuggestsWorkingCommands(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	s.create(t, "--name", "my ci")
	s.create(t, "--name", "my ci")
	for _, args := range [][]string{
		{"show", "my ci"}, {"edit", "my ci", "--name", "my ci", "--scope", "volume:list", "--scope", "unikernel:*"},
		{"usage", "my ci", "-o", "json"}, {"usage", "my ci", "--step", "day"}, {"disable", "my ci"},
		{"enable", "my ci"},
		{"audit", "--token-id", "my ci"}, {"audit", "--actor", "my ci", "--token-id", "my ci", "--limit", "3"},
		{"explain", "GET", "/api/unikernels?a='b c'", "--token-id", "my ci", "--ip", "192.0.2.1"},
		{"rotate", "my ci", "--grace", "0s", "--yes"}, {"revoke", "my ci", "--yes", "--wait=false"},
	} {
		got := s.run(args...)
		lines := regexp.MustCompile(`(?m)^ +(caddy api-token .*?)   # `).FindAllStringSubmatch(got.err, -1)
		if got.code != exitUsage || len(lines) != 2 {
			t.Fatalf("%q: got unexpected outcome %+v", args, got)
		}
		words, err := exec.Command("bash", "-c", "caddy() { printf '%s\\n' \"$@\"; }\n"+lines[0][1]).Output()
		if err != nil {
			t.Fatal(err)
		}
		again := strings.Split(strings.TrimSuffix(string(words), "\n"), "\n")
		if got := runCommand(nil, again[1:]...); got.code != exitOK && got.code != exitRefused {
			t.Errorf("%s: got unexpected outcome %+v", lines[0][1], got)
		}
	}
}

// TestCommandRevokeShowsTheLastUse checks what revoke says before it asks, and about keys that
// are already revoked.
func TestCommandRevokeShowsTheLastUse(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.store.Now(), IP: "203.0.113.7",
		UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
	later := func() time.Time { return time.Now().Add(5*time.Minute + time.Second) }
	got := runCommand(&console{in: strings.NewReader("y\n"), interactive: true, now: later}, "revoke", "ci",
		"--address", s.address())
	want := id + "  ci\n  active, last used 5 m ago from 203.0.113.7 by curl/8.5.0 for GET /api/unikernels (1 uses)\n" +
		`Revoke "ci"? It stops working immediately and can't be enabled again. [y/N] Revoked "ci" (` + id + ").\n"
	if got.code != exitOK || got.err != want {
		t.Errorf("got %+v, want %q", got, want)
	}
	got = runCommand(&console{now: later}, "revoke", id, "--yes", "--address", s.address())
	if got.code != exitOK || got.err != `"ci" (`+id+") was already revoked 5 m ago.\n" {
		t.Errorf("got unexpected outcome %+v", got)
	}
}
