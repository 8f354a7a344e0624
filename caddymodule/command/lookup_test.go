package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLookup(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "lost")
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(in string, args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(in)},
			append([]string{"lookup", "--address", s.address()}, args...)...)
	}
	for name, got := range map[string]outcome{
		"standard input": look(" "+secret+"\r\n", "-o", "id"),
		"file":           look("", "-o", "id", "--token-file", path),
	} {
		if got.code != exitOK || got.out != id+"\n" || strings.Contains(got.err, secret[20:]) {
			t.Errorf("%s: got unexpected outcome %+v", name, got)
		}
	}
	if got := look(commandVector); got.code != exitNotFound || strings.Contains(got.err, commandVector[20:]) {
		t.Errorf("lookup: got unexpected outcome %+v", got)
	}
	for _, in := range []string{"two words", strings.Repeat("x", maxSecretFile+1)} {
		if got := look(in); got.code != exitUsage {
			t.Errorf("lookup: got unexpected outcome %+v", got)
		}
	}
	// lookup doesn't accept a token as an argument.
	if got := s.run("lookup", secret); got.code != exitUsage || strings.Contains(got.err, secret[20:]) {
		t.Errorf("lookup: got unexpected outcome %+v", got)
	}
}
