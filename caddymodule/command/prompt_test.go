package command

import (
	"fmt"
	"strings"
	"testing"
)

// TestCommandCreateAsks checks that create without flags asks for the settings on a terminal,
// and that no answer creates nothing.
func TestCommandCreateAsks(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	got := runAsked("\nnightly backup\n5m\n\nraed\nread\nalice\n", "create", "--address", s.address())
	if got.code != exitOK || !strings.HasPrefix(got.out, "mmk_") || strings.Count(got.out, "\n") != 1 {
		t.Fatalf("got unexpected outcome %+v", got)
	}
	for _, want := range []string{
		"Name (what the key is for): This can't be empty.\n", "or never) [90d]: ", "could be minutes or months",
		"  read  unikernel:list\n", "Preset (read) or scopes [read]: ", `There is no "raed"; did you mean "read"?`,
		"Account (default, alice) [default]: ",
		`Created API key "nightly backup"`,
		"caddy api-token create --name 'nightly backup' --expires-in 90d --preset read --account alice --address ",
	} {
		if !strings.Contains(got.err, want) {
			t.Errorf("%q is missing from %s", want, got.err)
		}
	}
	if list := s.run("list", "--account", "alice", "-o", "id"); strings.Count(list.out, "\n") != 1 {
		t.Errorf("got the list %+v", list)
	}
	for _, answers := range []string{"", "name", "name\n", "name\n90d\nread\n", "\n\n\n"} {
		got := runAsked(answers, "create", "--address", s.address())
		if got.code != exitRefused || got.out != "" || !strings.Contains(got.err, "Nothing was changed.") {
			t.Errorf("%q: got unexpected outcome %+v", answers, got)
		}
	}
	if list := s.run("list", "-o", "id"); strings.Count(list.out, "\n") != 1 {
		t.Errorf("got the list %+v", list)
	}
	// With flags, or without a terminal, nothing is asked.
	if got := runAsked("x\n", "create", "--name", "x", "--address", s.address()); got.code != exitUsage {
		t.Errorf("got unexpected outcome %+v", got)
	}
	if got := s.run("create"); got.code != exitUsage || strings.Contains(got.err, "Name (") {
		t.Errorf("got unexpected outcome %+v", got)
	}
}

// TestCommandCreateAsksForScopes checks that the answer about the preset may be scopes.
func TestCommandCreateAsksForScopes(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	for n, answer := range []string{"volume:list unikernel:*", "volume:list,unikernel:*",
		" volume:list ,  unikernel:* ", "volume:list unikernel:lits\nvolume:list unikernel:*"} {
		name := fmt.Sprint("key ", n)
		got := runAsked(name+"\n\n"+answer+"\n\n", "create", "--address", s.address())
		if got.code != exitOK || !strings.Contains(got.err, "\nScopes: unikernel:*, volume:list.\n") ||
			!strings.Contains(got.err, " --scope volume:list --scope 'unikernel:*' --account default") {
			t.Errorf("%q: got unexpected outcome %+v", answer, got)
		}
		wrong := `There is no "unikernel:lits"; did you mean "unikernel:list"?` + "\nThe scopes are *, "
		if strings.Contains(answer, "lits") != strings.Contains(got.err, wrong) {
			t.Errorf("%q: got unexpected outcome %+v", answer, got)
		}
	}
}

func TestQuoted(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"": "''", "ci": "ci", "a b": "'a b'", "it's": `'it'\''s'`, "*": "'*'"} {
		if got := quoted(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}
