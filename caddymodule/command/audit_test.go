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
	// Tables name the fields for people, CSV as the API does.
	s.run("rotate", id)
	s.run("edit", id, "--old-secret-until", "none", "--allowed-ip", "10.0.0.0/8", "--not-before",
		"2026-01-01T00:00:00Z")
	for format, want := range map[string][]string{
		"wide": {"addresses: none -> 10.0.0.0/8; ", "; old secret until: 20", "valid from: none -> 20",
			"old secret works for: 86400s"},
		"csv": {"allowed_ips: none -> 10.0.0.0/8; ", "; previous_valid_until: 20", "not_before: none -> 20",
			"grace: "},
		"json": {`"allowed_ips":"none -> 10.0.0.0/8"`, `"previous_valid_until":"20`},
	} {
		got := s.run("audit", "--token-id", id, "-o", format)
		for _, text := range want {
			if got.code != exitOK || !strings.Contains(got.out, text) {
				t.Errorf("audit -o %s: got %+v, want %q", format, got, text)
			}
		}
	}
	got = s.run("audit", "--limit", "1", "-o", "json")
	_, cursor, found := strings.Cut(got.err, "--cursor ")
	if !found {
		t.Fatalf("audit: got unexpected outcome %+v", got)
	}
	if got := s.run("audit", "--cursor", strings.TrimSpace(cursor), "-o", "json"); strings.Count(got.out,
		`"action"`) != 4 {
		t.Errorf("audit: got unexpected outcome %+v", got)
	}
}
