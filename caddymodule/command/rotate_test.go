package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

func TestCommandRotate(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, first := s.create(t, "--name", "ci")
	got := s.run("rotate", id)
	second := strings.TrimSuffix(got.out, "\n")
	if got.code != exitOK || s.present(t, first) != "active" || s.present(t, second) != "active" || second == first ||
		!strings.Contains(got.err, "The old secret works until ") || !strings.Contains(got.err,
		"\nTo stop the old secret sooner: caddy api-token edit "+id+" --old-secret-until none --address ") ||
		strings.Contains(got.err, second[20:]) {
		t.Errorf("rotate: got unexpected outcome %+v", got)
	}
	if got := s.run("show", id); !strings.Contains(got.err, "The old secret has not been used since the rotation") {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
	match, err := s.match(t, first)
	if err != nil {
		t.Fatal(err)
	}
	s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.store.Now(), IP: "203.0.113.9",
		UserAgent: "curl/8.5.0"})
	if got := s.run("show", id); !strings.Contains(got.err, "s ago from 203.0.113.9 by curl/8.5.0.") {
		t.Errorf("show: got unexpected outcome %+v", got)
	}
	got = s.run("rotate", id, "--grace", "0s", "--yes", "-o", "json")
	var object struct{ ID, Token string }
	if err := json.Unmarshal([]byte(got.out), &object); err != nil || object.ID != id ||
		s.present(t, object.Token) != "active" ||
		s.present(t, second) == "active" || !strings.Contains(got.err, "has stopped working") {
		t.Errorf("rotate: got unexpected outcome %+v", got)
	}
	asked := func(answer, grace string) outcome {
		return runAsked(answer, "rotate", id, "--grace", grace, "--address", s.address())
	}
	for _, grace := range []string{"0", "00", "0s", "0m", "0h", "0d"} {
		if got := asked("n\n", grace); got.code != exitRefused || got.out != "" ||
			s.present(t, object.Token) != "active" {
			t.Errorf("rotate --grace %s: got unexpected outcome %+v", grace, got)
		}
	}
	if got := asked("y\n", "0h"); got.code != exitOK || s.present(t, object.Token) == "active" {
		t.Errorf("rotate: got unexpected outcome %+v", got)
	}
	got = s.run("rotate", id, "--expires-in", "1h", "--grace", "60s")
	if end := time.Until(s.stored(t, id).ExpiresAt); got.code != exitOK || end > time.Hour {
		t.Errorf("rotate: got %+v; the key expires in %s", got, end)
	}
	for text, d := range map[string]time.Duration{"1m": time.Minute, "50m": 50 * time.Minute, "1800": time.Hour / 2} {
		got := s.run("rotate", id, "--grace", text)
		if left := s.stored(t, id).PreviousValidUntil.Sub(s.store.Now()); got.code != exitOK || left > d ||
			left < d-10*time.Second {
			t.Errorf("rotate --grace %s: got %+v; the old secret works for %s", text, got, left)
		}
	}
	// edit says what became of the old secret.
	until := s.store.Now().Add(40 * time.Minute).UTC().Format(time.RFC3339)
	if got := s.run("edit", id, "--old-secret-until", until); got.code != exitOK ||
		!strings.HasPrefix(got.err, "The old secret works until "+until+" (in ") {
		t.Errorf("edit: got unexpected outcome %+v", got)
	}
	for range 2 {
		if got := s.run("edit", id, "--old-secret-until", "none"); got.code != exitOK ||
			!strings.HasSuffix(got.err, "The old secret has stopped working.\n") {
			t.Errorf("edit: got unexpected outcome %+v", got)
		}
	}
	if got := s.run("rotate", "000000000000"); got.code != exitNotFound || got.out != "" {
		t.Errorf("rotate: got unexpected outcome %+v", got)
	}
}

// TestCommandNotesUnit checks that a small number without a unit is accepted, and that the command
// says what it means.
func TestCommandNotesUnit(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "ci")
	for _, args := range [][]string{
		{"create", "--name", "short", "--preset", "read", "--expires-in", "30"}, {"edit", id, "--expires-in", "030"},
		{"rotate", id, "--grace", "30"},
	} {
		got := s.run(args...)
		if want := args[len(args)-2] + " 30 means 30 seconds; write 30d for days."; got.code != exitOK ||
			!strings.Contains(got.err, want) {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	for _, lifetime := range []string{"3600", "30s", "1h"} {
		got := s.run("create", "--name", "longer", "--preset", "read", "--expires-in", lifetime)
		if got.code != exitOK || strings.Contains(got.err, "means") {
			t.Errorf("%s: got unexpected outcome %+v", lifetime, got)
		}
	}
}

// TestCommandRotateTwice checks that a second rotation says what becomes of the first old secret.
func TestCommandRotateTwice(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "ci")
	const says = "The secret before the old one has stopped working.\n"
	for _, second := range []bool{false, true} {
		got := s.run("rotate", id, "--grace", "1h")
		if got.code != exitOK || strings.Contains(got.err, says) != second {
			t.Errorf("second rotation %t: got unexpected outcome %+v", second, got)
		}
	}
}
