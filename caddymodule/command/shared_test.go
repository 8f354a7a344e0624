package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// TestSharedMessages compares what commands print if several gates share the key store.
func TestSharedMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	printed := make(map[string][]string)
	for _, width := range widths {
		s := newSharedServer(t)
		s.shared.CheckBackup = bolt.CheckBackup
		show := func(name, answer string, args ...string) {
			t.Helper()
			s.answer = answer
			text := s.print(screen{width: width}, args...)
			text = strings.ReplaceAll(text, dir, "/backups")
			printed[name] = append(printed[name], text)
		}
		backup := filepath.Join(dir, "tokens.db")
		s.backUp(t, "backup", backup, "--force")
		damaged := filepath.Join(dir, "damaged.db")
		if err := os.WriteFile(damaged, []byte(strings.Repeat("damaged\n", 512)), 0o600); err != nil {
			t.Fatal(err)
		}
		show("restore-shared", "", "restore", backup, "--shared", "--yes")
		show("restore-shared-asked", "n\n", "restore", backup, "--shared")
		show("restore-shared-damaged", "", "restore", damaged, "--shared", "--yes")
		show("revoke-wait", "", "revoke", s.ids[0], "--yes", "--wait")
		s.shared.Set(func(state *backendtest.SharedState) {
			state.Unconfirmed = []string{"9cTe7GhBvD", "a0LfSi1S3o"}
		})
		show("revoke-wait-missing", "", "revoke", s.ids[0], "--yes", "--wait")
		show("cluster-asked", "n\n", "cluster", "accept")
		s.shared.Set(func(state *backendtest.SharedState) { state.Problem = tokenstore.ErrLostChanges })
		show("disable-lost", "", "disable", s.ids[0])
		show("cluster", "", "cluster", "accept", "--yes")
	}
	for name, texts := range printed {
		compare(t, name, onScreens(texts))
	}
}

// TestSharedExitCodes checks the exit codes of commands for a shared key store.
func TestSharedExitCodes(t *testing.T) {
	t.Parallel()
	s := newSharedServer(t)
	s.shared.CheckBackup = bolt.CheckBackup
	backup := filepath.Join(t.TempDir(), "tokens.db")
	s.backUp(t, "backup", backup)
	single := newCommandServer(t)
	for _, test := range []struct {
		server *commandServer
		args   []string
		code   int
		want   string
	}{
		{s.commandServer, []string{"restore", backup, "--shared", "--yes", "--store", "x"}, exitUsage,
			"--store or --shared"},
		{s.commandServer, []string{"restore", backup, "--shared"}, exitUsage, "--yes"},
		{s.commandServer, []string{"restore", backup + "x", "--shared", "--yes"}, exitUsage, "no such file"},
		{s.commandServer, []string{"cluster"}, exitUsage, "accept"},
		{s.commandServer, []string{"cluster", "leave"}, exitUsage, "accept"},
		{s.commandServer, []string{"cluster", "accept"}, exitUsage, "--yes"},
		{single, []string{"restore", backup, "--shared", "--yes"}, exitConflict, "stop Caddy"},
		{single, []string{"cluster", "accept", "--yes"}, exitConflict, "nothing to accept"},
	} {
		if got := test.server.run(test.args...); got.code != test.code || !strings.Contains(got.err, test.want) {
			t.Errorf("%q: got %+v, want exit code %d and %q", test.args, got, test.code, test.want)
		}
	}
	s.shared.Set(func(state *backendtest.SharedState) { state.Nodes = slices.Clone(state.Nodes[:1]) })
	if got := s.run("revoke", s.ids[0], "--yes", "--wait"); got.code != exitOK ||
		!strings.HasSuffix(got.err, "The only gate has confirmed it.\n") {
		t.Errorf("one gate: got %+v", got)
	}
	s.loseContact()
	if got := s.run("revoke", s.ids[0], "--yes", "--wait"); got.code != exitUnreachable {
		t.Errorf("without contact: got %+v", got)
	}
}
