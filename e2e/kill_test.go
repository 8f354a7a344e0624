package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// These flags set how often TestUsageSurvivesKill kills Caddy, and how long it waits before
// each kill. For a long run:
//
//	go test -C e2e -run TestUsageSurvivesKill -kills 100 -kill.time 10s -timeout 1h .
var (
	kills    = flag.Int("kills", 6, "number of times to kill Caddy while it counts")
	killTime = flag.Duration("kill.time", 2*time.Second, "maximum time before a kill")
)

// These are the rounds in which tokens change.
const (
	rotateRound = 1
	revokeRound = 2
)

// killTokens holds TestUsageSurvivesKill's tokens, one per usage pattern.
type killTokens struct {
	all, limited     []*counted
	rotated, revoked *counted
}

func makeKillTokens(c *caddy) (tokens killTokens) {
	const scopes, limited = "test:allowed test:other", "/allowed /allowed /other /denied"
	for _, made := range []struct {
		n             *counted
		scopes, paths string
		flags         []string
	}{
		{n: &counted{name: "steady", agent: "steady"}, scopes: "test:allowed", paths: "/allowed"},
		{n: &counted{name: "steady, from two addresses", agent: "steady", addresses: 1}, scopes: "test:allowed",
			paths: "/allowed"},
		{n: &counted{name: "many patterns", agents: true, addresses: 250}, scopes: scopes, paths: limited},
		{n: &counted{name: "many agents", agents: true}, scopes: scopes, paths: "/allowed"},
		{n: &counted{name: "two routes", agent: "two"}, scopes: scopes, paths: "/allowed /other"},
		{n: &counted{name: "denied", agent: "denied"}, scopes: "test:allowed", paths: "/denied"},
		{n: &counted{name: "daily quota", agents: true, quota: 10_000_000}, scopes: scopes, paths: limited,
			flags: []string{"--quota", "10000000/day"}},
		{n: &counted{name: "used up", ends: true, agent: "used up", quota: 200}, scopes: scopes, paths: "/allowed",
			flags: []string{"--quota", "200/day"}},
		{n: &counted{name: "rate limit", ends: true, agent: "rate"}, scopes: scopes, paths: limited,
			flags: []string{"--rate-limit", "20/1m"}},
		{n: &counted{name: "rotated", agents: true, addresses: 3}, scopes: scopes, paths: limited},
		{n: &counted{name: "revoked", ends: true, agent: "revoked"}, scopes: scopes, paths: limited},
		{n: &counted{name: "expiring", ends: true, agent: "expiring"}, scopes: scopes, paths: limited,
			flags: []string{"--expires-in", "5s"}},
	} {
		n := made.n
		flags := append([]string{"--name", n.name}, made.flags...)
		for scope := range strings.FieldsSeq(made.scopes) {
			flags = append(flags, "--scope", scope)
		}
		n.token, n.paths = c.token(flags...), strings.Fields(made.paths)
		tokens.all = append(tokens.all, n)
		switch {
		case n.quota > 0:
			tokens.limited = append(tokens.limited, n)
		case n.name == "rotated":
			tokens.rotated = n
		case n.name == "revoked":
			tokens.revoked = n
		}
	}
	return tokens
}

// changeDuring changes tokens while clients use them.
func (tokens *killTokens) changeDuring(c *caddy, round int) {
	switch round {
	case rotateRound:
		var made struct{ Token string }
		if err := json.Unmarshal([]byte(c.postAdmin("/api_tokens/v1/tokens/"+tokenID(tokens.rotated.token)+"/rotate",
			`{"grace": "1d"}`)), &made); err != nil || made.Token == "" {
			c.t.Errorf("rotating a token: %v", err)
			return
		}
		tokens.rotated.mu.Lock()
		tokens.rotated.token, tokens.rotated.old = made.Token, tokens.rotated.token
		tokens.rotated.mu.Unlock()
	case revokeRound:
		c.postAdmin("/api_tokens/v1/tokens/"+tokenID(tokens.revoked.token)+"/revoke", "")
	}
}

// postAdmin sends a POST request to the admin endpoint and returns the response body.
func (c *caddy) postAdmin(path, body string) string {
	c.t.Helper()
	response, err := c.admin().Post("http://caddy"+path, "application/json", strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Errorf("POST %s: %d %v %s", path, response.StatusCode, err, text)
	}
	return string(text)
}

// compare compares all tokens after a kill.
func (tokens *killTokens) compare(c *caddy, random *rand.Rand) sums {
	c.t.Helper()
	newestOld := tokens.rotated.now.newestOld
	all := checkUsage(c, tokens.all)
	for _, n := range tokens.limited {
		n.compareQuota(c, random)
	}
	var previous struct {
		LastAt *time.Time `json:"last_used_at"`
	}
	if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(tokens.rotated.token)+"/previous")),
		&previous); err != nil {
		c.t.Error(err)
	}
	if !newestOld.IsZero() && (previous.LastAt == nil || previous.LastAt.Before(newestOld.Truncate(time.Second))) {
		c.t.Errorf("previous secret: last used at %v, want %s", previous.LastAt,
			newestOld.UTC().Format(time.RFC3339Nano))
	}
	return all
}

// TestUsageSurvivesKill kills Caddy at random moments and checks that no data about an
// answered request is lost: its count, scope, outcome and quota charge, and its record as the
// last use.
func TestUsageSurvivesKill(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	var tokens killTokens
	var last sums
	for round := range *kills + 1 {
		for round > 0 && random.IntN(3) == 0 { // while Caddy starts
			c.launch(countingSite)
			time.Sleep(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
			c.kill()
		}
		c.start(countingSite)
		if round == 0 {
			tokens = makeKillTokens(c)
		} else if last = tokens.compare(c, random); t.Failed() {
			t.Fatalf("the counts are wrong after %d kills", round)
		}
		if round == *kills {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait := time.Duration(random.Int64N(int64(*killTime)))
		go func() {
			tokens.changeDuring(c, round)
			time.Sleep(wait) // wait for a random moment
			_ = c.cmd.Process.Kill()
			cancel()
		}()
		useTokensBy(ctx, c, tokens.all, random.Uint64(), func(error) {})
		<-c.exited
		c.cmd = nil
	}
	t.Logf("%d kills: %d requests sent, %d answered, %d counted", *kills, last.sent, last.answered, last.counted)
	if last.answered == 0 {
		t.Error("no request was answered")
	}
}
