package e2e

import (
	"context"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
)

// TestUsageSurvivesReloads checks that every answered request is counted exactly once, across
// reloads and a clean restart.
func TestUsageSurvivesReloads(t *testing.T) {
	t.Parallel()
	const reloads = 100
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	// Even without Mollygate, a reload may reset a connection that is just being established.
	all.Go(func() { useTokens(ctx, c, tokens, func(error) {}) })
	config := c.getAdmin("/config/")
	for i := range reloads {
		if status, err := c.load([]byte(config)); err != nil || status != http.StatusOK {
			t.Fatalf("reload %d: got status %d, error %v", i, status, err)
		}
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.exited
	cancel()
	all.Wait()
	c.cmd = nil
	c.start(countingSite)
	last := checkUsage(c, tokens)
	t.Logf("%d reloads and a SIGTERM: %d requests sent, %d answered, %d counted", reloads, last.sent,
		last.answered, last.counted)
	if _, err := os.Stat(c.path(usageFile)); err != nil {
		t.Error(err)
	}
	c.stop()
	if info, err := os.Stat(c.path(usageFile)); err != nil || info.Size() > 4096 {
		t.Errorf("all counts are saved, but the journal contains more than its header: %v, %v", info, err)
	}
}
