package command

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommandCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := runCommand(nil, "completion", shell); got.code != exitOK || !strings.Contains(got.out, "caddy") ||
			len(got.out) < 1000 || got.err != "" {
			t.Errorf("%s: got %d bytes of output, standard error %q", shell, len(got.out), got.err)
		}
	}
	if got := runCommand(nil, "completion", "bash"); !strings.Contains(got.out, "__complete") {
		t.Error("the completion script doesn't call caddy")
	}
}

// completions returns what the shell suggests for the last argument. It fails the test if a
// shell would show anything else.
func completions(t *testing.T, args ...string) []string {
	t.Helper()
	begun := time.Now()
	got := runRoot(nil, append([]string{"__complete", "api-token"}, args...)...)
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	last := lines[len(lines)-1]
	if got.code != exitOK || last != ":4" || strings.Contains(got.err, "Error") || time.Since(begun) > 5*time.Second {
		t.Errorf("%q: got %+v after %s", args, got, time.Since(begun))
	}
	return lines[:len(lines)-1]
}

func TestCommandCompletesValues(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	ci, _ := s.create(t, "--name", "my ci")
	bot, _ := s.create(t, "--name", "release bot")
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"show", ""}, []string{bot + "\trelease bot", ci + "\tmy ci"}},
		{[]string{"show", ci[:4]}, []string{ci + "\tmy ci"}},
		{[]string{"revoke", ci, "rel"}, []string{"release bot\t" + bot}},
		{[]string{"show", "mmk_" + ci + "_N3sXw8"}, nil},
		{[]string{"audit", "--token-id", ci[:4]}, []string{ci + "\tmy ci"}},
		{[]string{"create", "--preset", ""}, []string{"read"}},
		{[]string{"create", "--account", "a"}, []string{"alice"}},
		{[]string{"create", "--scope", "volume"}, []string{"volume:*", "volume:list"}},
		{[]string{"create", "--output", ""}, []string{"table", "json"}},
		{[]string{"audit", "-o", ""}, []string{"table", "wide", "json", "csv"}},
		{[]string{"list", "--status", "exp"}, []string{"expiring", "expired"}},
		{[]string{"list", "--columns", "id,na"}, []string{"id,name"}},
		{[]string{"list", ""}, nil},
	} {
		args := slices.Insert(slices.Clone(test.args), 1, "--address", s.address())
		if got := completions(t, args...); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
	}
}

// TestCommandCompletesWithoutCaddy checks that the shell gets no suggestions, and gets them
// soon, if Caddy isn't running or doesn't respond.
func TestCommandCompletesWithoutCaddy(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, where := range [][]string{{"--address", "127.0.0.1:1"}, {"--address", silent.Addr().String()},
		{"--address", "nonsense"}, {"--config", "/nonexistent/Caddyfile"}} {
		for _, args := range [][]string{{"show", ""}, {"create", "--preset", ""}, {"list", "--account", ""}} {
			if got := completions(t, slices.Insert(args, 1, where...)...); len(got) > 0 {
				t.Errorf("%q: got %q", where, got)
			}
		}
	}
}
