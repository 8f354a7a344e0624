package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// tokenEvents returns a token's events in order, each as the event name, the token name and
// the actor. Caddy logs every event at the debug level.
func (s *site) tokenEvents(id string) (events []string) {
	s.t.Helper()
	for line := range strings.Lines(s.output.String()) {
		var entry struct {
			Logger string         `json:"logger"`
			Msg    string         `json:"msg"`
			Name   string         `json:"name"`
			Origin string         `json:"origin"`
			Data   map[string]any `json:"data"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Logger != "events" || entry.Msg != "event" ||
			!strings.HasPrefix(entry.Name, "token.") || entry.Data["id"] != id {
			continue
		}
		if entry.Origin != "api_tokens" {
			s.t.Errorf("the event %s has origin %q", entry.Name, entry.Origin)
		}
		text := strings.TrimPrefix(entry.Name, "token.") + " " + fmt.Sprint(entry.Data["name"])
		if actor, ok := entry.Data["actor"]; ok {
			text += " by " + fmt.Sprint(actor)
		}
		events = append(events, text)
	}
	return events
}

// TestEvents checks that Caddy's events app receives token events across reloads and restarts.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--name", "ci", "--preset", "read")
	id := tokenID(token)
	secrets := []string{token}
	use := func(want int) {
		t.Helper()
		if status, _, _ := curl(t, append(bearer(token), s.url("/api/unikernels"))...); status != want {
			t.Errorf("got status %d, want %d", status, want)
		}
	}
	command := func(args ...string) {
		t.Helper()
		stdout, stderr, code := s.run(append([]string{"api-token"}, args...)...)
		if code != 0 {
			t.Fatalf("%q: got exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	use(200)
	command("disable", id)
	command("enable", id)
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	command("revoke", id, "--yes")
	use(401)
	use(401)
	want := []string{"created ci by caddy-admin", "disabled ci by caddy-admin", "enabled ci by caddy-admin",
		"revoked ci by caddy-admin", "used_after_revoke ci"}
	s.eventually("the events are emitted", func() bool { return len(s.tokenEvents(id)) >= len(want) })

	// If a token expires while Caddy isn't running, the next process reports the expiry.
	ending := s.mint(map[string]any{"name": "ending", "preset": "read", "expires_in": 1})
	end := time.Now().Add(time.Second)
	secrets = append(secrets, ending)
	s.stop()
	s.eventually("the token has expired", func() bool { return time.Now().After(end) })
	s.start(plainSite)
	s.eventually("the expiry event is emitted", func() bool {
		got := s.tokenEvents(tokenID(ending))
		return slices.Equal(got, []string{"created ending by caddy-admin", "expired ending"})
	})
	command("delete", id, "--yes")
	want = append(want, "deleted ci by caddy-admin")
	s.eventually("the deletion event is emitted", func() bool { return len(s.tokenEvents(id)) >= len(want) })
	if got := s.tokenEvents(id); !slices.Equal(got, want) {
		t.Errorf("got events %q, want %q", got, want)
	}
	for _, secret := range secrets {
		checkNoSecret(t, "the log", s.output.String(), secret)
	}
}
