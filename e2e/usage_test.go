package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// How often and how long TestUsageSurvivesKill counts. The figures come from
//
//	go test ./e2e -run TestUsageSurvivesKill -kill.rounds 100 -kill.time 60s -timeout 3h
var (
	killRounds = flag.Int("kill.rounds", 5, "how often Caddy is killed while it counts")
	killTime   = flag.Duration("kill.time", 2*time.Second, "how long it counts at most before it is killed")
)

const (
	countingClients = 64
	countingTokens  = 100
)

// countingSite answers by itself, so that as much as possible is counted.
const countingSite = `{
	admin unix/{$DIR}/admin.sock
	api_tokens {
		store bbolt {$STORE}
		account default
	}
}
http://127.0.0.1:{$HTTP} {
	route {
		bearer_auth {
			route GET /allowed test:allowed
			route GET /denied test:denied
		}
		respond ok
	}
}
`

// counted is what clients know of the requests with one token.
type counted struct {
	token string
	// agent is the clients' User-Agent; it is changed only while nobody counts.
	agent string
	// sent and answered are the requests that were begun and those whose answer came
	// whole, of the allowed and of the denied.
	sentAllowed, answeredAllowed, sentDenied, answeredDenied atomic.Uint64
	// lastSent is when the newest allowed request that was answered was sent, in
	// microseconds since 1970.
	lastSent atomic.Int64
}

func makeCounted(c *caddy) []*counted {
	tokens := make([]*counted, countingTokens)
	for i := range tokens {
		tokens[i] = &counted{token: c.token("--scope", "test:allowed")}
	}
	return tokens
}

// useTokens lets clients use the tokens until the context ends. failed is called
// with what goes wrong.
func useTokens(ctx context.Context, c *caddy, tokens []*counted, failed func(error)) {
	var all sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: countingClients}
	defer transport.CloseIdleConnections()
	for range countingClients {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := tokens[rand.IntN(len(tokens))].use(c, transport); err != nil {
					failed(err)
				}
			}
		})
	}
	all.Wait()
}

// use makes one request; one in four is denied.
func (n *counted) use(c *caddy, transport http.RoundTripper) error {
	path, sent, answered, status := "/allowed", &n.sentAllowed, &n.answeredAllowed, http.StatusOK
	if rand.IntN(4) == 0 {
		path, sent, answered, status = "/denied", &n.sentDenied, &n.answeredDenied, http.StatusForbidden
	}
	request, err := http.NewRequest(http.MethodGet, c.url(path), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	request.Header.Set("User-Agent", n.agent)
	begun := time.Now().UnixMicro()
	sent.Add(1)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if err != nil {
		return err
	}
	if response.StatusCode != status {
		return fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	answered.Add(1)
	for status == http.StatusOK {
		last := n.lastSent.Load()
		if begun <= last || n.lastSent.CompareAndSwap(last, begun) {
			break
		}
	}
	return nil
}

// sums are over all tokens.
type sums struct{ sent, answered, counted uint64 }

// holds compares the server's counts with the clients': no answered request is
// missing, and none is counted that wasn't sent.
func holds(c *caddy, tokens []*counted) sums {
	c.t.Helper()
	var all sums
	for _, n := range tokens {
		var object struct {
			UsageCount  uint64     `json:"usage_count"`
			DeniedCount uint64     `json:"denied_count"`
			LastUsedAt  *time.Time `json:"last_used_at"`
		}
		if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(n.token))), &object); err != nil {
			c.t.Fatal(err)
		}
		for _, kind := range []struct {
			name                    string
			sent, answered, counted uint64
		}{
			{"allowed", n.sentAllowed.Load(), n.answeredAllowed.Load(), object.UsageCount},
			{"denied", n.sentDenied.Load(), n.answeredDenied.Load(), object.DeniedCount},
		} {
			if kind.counted < kind.answered || kind.counted > kind.sent {
				c.t.Errorf("token %s, %s: %d were sent, %d answered, %d counted", tokenID(n.token), kind.name, kind.sent, kind.answered, kind.counted)
			}
			all.sent, all.answered, all.counted = all.sent+kind.sent, all.answered+kind.answered, all.counted+kind.counted
		}
		// What a killed process has counted since it last saved is told of without a
		// scope, and what was being counted just when it saved may be told of twice.
		if told := toldAllowed(c, tokenID(n.token)); told < object.UsageCount || told > n.sentAllowed.Load()+countingClients {
			c.t.Errorf("token %s: the history tells of %d allowed requests, counted are %d", tokenID(n.token), told, object.UsageCount)
		}
		if last := n.lastSent.Load(); last != 0 && (object.LastUsedAt == nil || object.LastUsedAt.Before(time.UnixMicro(last).Truncate(time.Second))) {
			c.t.Errorf("token %s: used last at %s, want %s", tokenID(n.token), object.LastUsedAt, time.UnixMicro(last))
		}
	}
	return all
}

func toldAllowed(c *caddy, id string) (n uint64) {
	c.t.Helper()
	var series struct {
		Data []struct {
			Outcome string `json:"outcome"`
			Count   uint64 `json:"count"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/tokens/"+id+"/usage?step=day")), &series); err != nil {
		c.t.Fatal(err)
	}
	for _, point := range series.Data {
		if point.Outcome == "ok" {
			n += point.Count
		}
	}
	return n
}

// TestUsageSurvivesKill: kill -9 at a random moment, again and again, loses the count
// of no request that was answered.
func TestUsageSurvivesKill(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	var tokens []*counted
	for round := range *killRounds {
		c.start(countingSite)
		if round == 0 {
			tokens = makeCounted(c)
		} else if holds(c, tokens); t.Failed() {
			t.Fatalf("after %d kills", round)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(rand.N(*killTime)) // a random moment
			_ = c.cmd.Process.Kill()
			cancel()
		}()
		useTokens(ctx, c, tokens, func(error) {})
		<-c.exited
		c.cmd = nil
	}
	c.start(countingSite)
	last := holds(c, tokens)
	t.Logf("%d kills: %d requests were sent, %d answered, %d counted", *killRounds, last.sent, last.answered, last.counted)
	if last.answered == 0 {
		t.Error("nothing was answered")
	}
}

// TestUsageSurvivesReloads and a restart in order: every answered request is counted
// once.
func TestUsageSurvivesReloads(t *testing.T) {
	t.Parallel()
	const reloads = 100
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	// A reload may reset a connection that is just being made, with Caddy alone, too.
	all.Go(func() { useTokens(ctx, c, tokens, func(error) {}) })
	config := c.getAdmin("/config/")
	for i := range reloads {
		if status, err := c.load([]byte(config)); err != nil || status != http.StatusOK {
			t.Fatalf("reload %d: %d, %v", i, status, err)
		}
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.exited
	cancel()
	all.Wait()
	c.cmd = nil
	c.start(countingSite)
	last := holds(c, tokens)
	t.Logf("%d reloads and a SIGTERM: %d requests were sent, %d answered, %d counted", reloads, last.sent, last.answered, last.counted)
	if _, err := os.Stat(c.path("tokens.db.counters")); err != nil {
		t.Error(err)
	}
	c.stop()
	if _, err := os.Stat(c.path("tokens.db.counters")); err == nil {
		t.Error("the counters file is left although all is saved")
	}
}
