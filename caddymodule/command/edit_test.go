package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// stored reads a token from the store.
func (s *commandServer) stored(t *testing.T, id string) *token.Token {
	t.Helper()
	parsed, err := token.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.store.Get(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return found.Token
}

// present presents a secret to the store. It returns the token's status, or the error text.
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
	credential, err := token.Prefixes{"mm"}.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s.store.Authenticate(credential, s.store.Now())
}

func TestCommandEdit(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "old", "--metadata", "a=1", "--metadata", "b=2", "--allowed-ip", "10.0.0.0/8",
		"--not-before", "2026-01-01T00:00:00Z")
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
		if text := strings.TrimSpace(fmt.Sprint(stored.Name, " ", stored.Scopes, " ", stored.AllowedIPs, " ",
			stored.Metadata, " ", stored.Account, " ", stored.RateLimit, " ", stored.Quota)); got.code != exitOK ||
			text != test.want {
			t.Errorf("%s: got %+v\nstored %s\nwant   %s", test.args, got, text, test.want)
		}
	}
	if end := time.Until(s.stored(t, id).ExpiresAt); end > time.Hour || end < 50*time.Minute {
		t.Errorf("the token expires in %s, want 1 hour", end)
	}
	if !s.stored(t, id).NotBefore.IsZero() {
		t.Error("edit didn't remove not_before")
	}
	if got := s.run("edit", id, "--name", "new"); got.code != exitOK ||
		!strings.Contains(got.err, "No change was needed") {
		t.Errorf("edit: got unexpected outcome %+v", got)
	}
	if got := s.run("edit", id, "--name", "x", "-o", "json"); !json.Valid([]byte(got.out)) {
		t.Errorf("edit: got unexpected outcome %+v", got)
	}
	s.run("revoke", id, "--yes")
	if got := s.run("edit", id, "--name", "y"); got.code != exitConflict ||
		!strings.Contains(got.err, "create a new one") {
		t.Errorf("edit: got unexpected outcome %+v", got)
	}
	if got := s.run("edit", "000000000000", "--name", "y"); got.code != exitNotFound {
		t.Errorf("edit: got unexpected outcome %+v", got)
	}
}
