package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestCommandUsage checks that usage prints the counts, the last use and the history.
func TestCommandUsage(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "ci")
	other, _ := s.create(t, "--name", "unused")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	now := s.store.Now()
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: now, IP: "203.0.113.7",
		UserAgent: strings.Repeat("agent ", 20), Route: "GET /api/unikernels"})
	s.store.CountDenied(match, tokenstore.Refusal{Time: now, Scope: "unikernel:create", Code: "insufficient_scope"})
	c := &console{now: func() time.Time { return now.Add(2 * time.Minute) }}
	got := runCommand(c, "usage", id, other, "--address", s.address())
	lines := strings.Split(got.out, "\n")
	if got.code != exitOK || !strings.HasPrefix(squeeze(lines[1]), id+" ci 1 1 2 m ago 203.0.113.7 agent") ||
		!strings.HasPrefix(squeeze(lines[2]), other+" unused 0 0 never - - -") {
		t.Errorf("usage: got unexpected outcome %+v", got)
	}
	got = s.run("usage", id, other, "-o", "json")
	var objects []struct {
		ID   string
		Uses uint64  `json:"usage_count"`
		Last *string `json:"last_used_at"`
	}
	if err := json.Unmarshal([]byte(got.out), &objects); err != nil || len(objects) != 2 || objects[0].Uses != 1 ||
		objects[0].Last == nil || objects[1].Last != nil {
		t.Errorf("usage: got unexpected outcome %+v", got)
	}

	// Check the history.
	day := now.UTC().Format(time.DateOnly)
	got = s.run("usage", id, "--step", "day")
	if want := "TIME (UTC) SCOPE OUTCOME REQUESTS\n" + day + " 00:00 unikernel:create insufficient_scope 1\n" + day +
		" 00:00 unikernel:list ok 1\n"; squeeze(got.out) != want || got.code != exitOK {
		t.Errorf("usage history: got %+v, want the table %q", got, want)
	}
	got = s.run("usage", id, "--step", "hour", "--from", now.Add(-time.Hour).Format(time.RFC3339), "-o", "json")
	var points []struct {
		Scope, Outcome string
		Count          uint64
	}
	if err := json.Unmarshal([]byte(got.out), &points); err != nil || len(points) != 2 ||
		points[1].Scope != "unikernel:list" || points[1].Count != 1 {
		t.Errorf("usage history: got %+v, error %v", got, err)
	}
	if got := s.run("usage", other, "--to", now.Format(time.RFC3339)); got.code != exitOK ||
		got.err != "no requests\n" {
		t.Errorf("usage: got unexpected outcome %+v", got)
	}
	for _, args := range [][]string{
		{id, other, "--step", "day"}, {id, "--step", "week"}, {id, "--from", "yesterday"}, {id, "--to", "x"},
		{id, "--step", "day", "-o", "id"},
		{id, "--from", "2030-01-02T00:00:00Z", "--to", "2030-01-01T00:00:00Z"},
	} {
		if got := s.run(append([]string{"usage"}, args...)...); got.code != exitUsage || got.out != "" {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	if got := s.run("usage", "000000000000", "--step", "day"); got.code != exitNotFound {
		t.Errorf("usage: got unexpected outcome %+v", got)
	}
}
