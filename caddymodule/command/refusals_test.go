package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestCommandRefusals checks the list of refused requests and the advice about them.
func TestCommandRefusals(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "my ci", "--preset", "", "--scope", "unikernel:*", "--allowed-ip", "10.0.0.0/8",
		"--rate-limit", "60/1m", "--quota", "10/day")
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []tokenstore.Refusal{
		{Code: "ip_denied", IP: "203.0.113.7"},
		{Code: "insufficient_scope", Method: "GET", Path: "/api/volumes", Scope: "volume:list", IP: "10.1.2.3",
			UserAgent: "curl/8.9"},
		{Code: "insufficient_scope", Method: "GET", Path: "/api/volumes", Scope: "volume:list", IP: "10.1.2.3"},
		{Code: "rate_limited"}, {Code: "quota_exceeded"}, {Code: "a_later_code"},
	} {
		r.Time = s.store.Now().Add(time.Duration(i-10) * time.Second) // the list is ordered by time
		s.store.CountDenied(match, r)
	}
	got := s.run("refusals", "my ci")
	lines := strings.Split(got.out, "\n")
	if got.code != exitOK || len(lines) != 8 || !strings.Contains(squeeze(lines[5]),
		" insufficient_scope GET /api/volumes 10.1.2.3 curl/8.9") {
		t.Errorf("got unexpected outcome %+v", got)
	}
	for _, want := range []string{
		"insufficient_scope (2): ", "caddy api-token edit " + id + " --scope 'unikernel:*' --scope volume:list",
		"caddy api-token edit " + id + " --allowed-ip 10.0.0.0/8 --allowed-ip 203.0.113.7",
		"caddy api-token edit " + id + " --rate-limit 120/1m --address ",
		"caddy api-token edit " + id + " --quota 20/day",
		"a_later_code (1): see docs/errors.md",
	} {
		if !strings.Contains(got.err, want) {
			t.Errorf("the advice lacks %q:\n%s", want, got.err)
		}
	}
	if first, _, _ := strings.Cut(strings.TrimSpace(got.err), " "); first != "insufficient_scope" {
		t.Errorf("the advice begins with %q, not with the most frequent reason", first)
	}
	var objects []struct{ Code, Path string }
	got = s.run("refusals", id, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &objects); err != nil || len(objects) != 6 || got.err != "" {
		t.Errorf("got %+v, error %v", got, err)
	}
	unused, _ := s.create(t, "--name", "unused")
	if got := s.run("refusals", unused); got.code != exitOK || got.err != "no refused requests\n" {
		t.Errorf("an unused key: got unexpected outcome %+v", got)
	}
	if got := s.run("refusals", "000000000000"); got.code != exitNotFound {
		t.Errorf("an unknown key: got unexpected outcome %+v", got)
	}
}

// TestCommandRefusalsOfEndedKeys checks that the advice for a key that can't work again is a command
// that succeeds.
func TestCommandRefusalsOfEndedKeys(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"revoked", "expired"} {
		s := newCommandServer(t)
		id, secret := s.create(t, "--name", "my ci", "--allowed-ip", "10.0.0.0/8", "--rate-limit", "60/1m")
		match, err := s.match(t, secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []string{"insufficient_scope", "ip_denied", "rate_limited", status + "_token"} {
			s.store.CountDenied(match, tokenstore.Refusal{Code: code, Time: s.store.Now(), IP: "203.0.113.7",
				Scope: "volume:list"})
		}
		now := time.Now
		if status == "expired" {
			s.pass(365 * 24 * time.Hour)
			now = s.Now
		} else {
			s.run("revoke", id, "--yes")
		}
		got := runCommand(&console{now: now}, "refusals", id, "--address", s.address())
		_, command, found := strings.Cut(got.err, "This key is "+status+", so changing it doesn't make it work again. "+
			"Create a new key instead:\n  caddy api-token ")
		if got.code != exitOK || !found || strings.Contains(got.err, "api-token edit") {
			t.Fatalf("%s: got unexpected outcome %+v", status, got)
		}
		args := strings.Fields(strings.ReplaceAll(command, "'my ci'", "new"))
		if got := runCommand(nil, args...); got.code != exitOK {
			t.Errorf("%s: %s: got unexpected outcome %+v", status, command, got)
		}
	}
}

// TestRemediesAreComplete checks that there is advice for each refusal that the gate records,
// apart from those about the backend and about requests without a correct secret.
func TestRemediesAreComplete(t *testing.T) {
	t.Parallel()
	for _, code := range gate.Codes() {
		switch code {
		case gate.MissingToken, gate.TokenInURL, gate.MalformedToken, gate.TooManyFailures:
			continue
		}
		if !strings.HasPrefix(string(code), "backend_") && code != gate.UpstreamCredential &&
			remedies[string(code)] == "" {
			t.Errorf("there is no advice for %s", code)
		}
	}
	for code := range remedies {
		if gate.Refuse(gate.Code(code)).Status == 0 {
			t.Errorf("there is advice for %s, which isn't a code", code)
		}
	}
}
