package e2e

import (
	"net/http"
	"strings"
)

// faultDisk fills the disk, frees it and fills it again while clients use tokens. Caddy must
// refuse changes and log why, but must not refuse requests, and all counts must be exact
// afterwards. TestUsageOnAFullDisk tests what a kill on a full disk loses.
func faultDisk(f *fault) {
	c, disk, tokens := countingOnDisk(f.T)
	for i, n := range tokens {
		n.agents = i%2 == 0 // these tokens have more usage data to save
	}
	stop := useMeanwhile(c, tokens, f.random.Uint64())
	name := strings.Repeat("x", 100)
	for range f.size(3, 20) {
		kept := c.token("--scope", "test:allowed")
		free := fillDisk(f.T, disk)
		// Make changes until they have used up the free pages in the store's file.
		c.eventually("a change is refused", func() bool {
			status, _ := c.tryAdmin(c.admin(), http.MethodPost, "tokens", newTokenBody(name))
			return status == http.StatusServiceUnavailable
		})
		mark := c.logMark()
		if status, _ := c.tryAdmin(c.admin(), http.MethodPost, "tokens",
			newTokenBody(name)); status == http.StatusServiceUnavailable {
			if said := c.refusalSince(mark); !strings.Contains(said, "no space left on device") {
				f.Errorf("the log doesn't say why a change was refused:\n%s", said)
			}
		}
		answeredMore(c, tokens, 1000)
		c.wantStatus("a token on a full disk", kept, http.StatusOK)
		free()
		c.eventually("changes succeed again", func() bool {
			status, _ := c.tryAdmin(c.admin(), http.MethodPost, "tokens", newTokenBody("made"))
			return status == http.StatusCreated
		})
		c.revokes(kept)
		if f.Failed() {
			break
		}
	}
	stop()
	checkUsage(c, tokens)
	c.waitForLog(logSaved, strings.Count(c.output.String(), logUnsaved))
	c.restart(countingSite)
	last := checkUsage(c, tokens)
	f.Logf("%d requests sent, %d answered, %d counted", last.sent, last.answered, last.counted)
	c.stop()
	if _, stderr, code := c.run("api-token", "check", c.env["STORE"]); code != 0 {
		f.Errorf("got exit code %d: %s", code, stderr)
	}
}
