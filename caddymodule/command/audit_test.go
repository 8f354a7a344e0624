package command

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCommandAudit(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "first")
	s.run("edit", id, "--name", "second")
	s.run("disable", id)
	got := s.run("audit")
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	if got.code != exitOK || len(lines) != 4 || !strings.HasPrefix(lines[0], "TIME") ||
		!strings.Contains(squeeze(lines[2]), " edit "+id+" second caddy") || !strings.Contains(lines[3], "create") {
		t.Errorf("audit: got unexpected outcome %+v", got)
	}
	got = s.run("audit", "--action", "edit", "-o", "json")
	var entries []struct {
		Action  string
		TokenID string `json:"token_id"`
		Changes map[string]string
	}
	if err := json.Unmarshal([]byte(got.out), &entries); err != nil || len(entries) != 1 || entries[0].TokenID != id ||
		entries[0].Changes["name"] != "first -> second" {
		t.Errorf("audit: got unexpected outcome %+v", got)
	}
	if got := s.run("audit", "--actor", "nobody"); got.code != exitOK || got.out != "" || got.err != "no changes\n" {
		t.Errorf("audit: got unexpected outcome %+v", got)
	}
	got = s.run("audit", "--limit", "1", "-o", "json")
	_, cursor, found := strings.Cut(got.err, "--cursor ")
	if !found {
		t.Fatalf("audit: got unexpected outcome %+v", got)
	}
	if got := s.run("audit", "--cursor", strings.TrimSpace(cursor), "-o", "json"); strings.Count(got.out,
		`"action"`) != 2 {
		t.Errorf("audit: got unexpected outcome %+v", got)
	}
}
