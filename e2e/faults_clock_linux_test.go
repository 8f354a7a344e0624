package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"
)

// libfaketime can't change a Go program's clock, because Go doesn't read the clock through the
// C library, and a test must not set the machine's clock. Instead, this test builds Caddy with
// two changes to package tokenstore: a file contains the duration by which to shift the clock,
// and old records are pruned every 100 ms instead of every hour.

// shiftedClock is the code added to package tokenstore.
const shiftedClock = `package tokenstore

import (
	"os"
	"time"
)

var shiftFile = os.Getenv("CLOCK_SHIFT")

func shiftedNow() time.Time {
	text, _ := os.ReadFile(shiftFile)
	shift, _ := time.ParseDuration(string(text))
	return time.Now().Add(shift)
}
`

// shifted builds Caddy with a shifted clock once and returns the executable's path.
var shifted = sync.OnceValues(func() (name string, err error) {
	dir := filepath.Dir(binary)
	tree, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	overlay := make(map[string]string)
	put := func(source, text string) error {
		file := filepath.Join(dir, strings.ReplaceAll(source, "/", "-"))
		overlay[filepath.Join(tree, source)] = file
		return os.WriteFile(file, []byte(text), 0o600)
	}
	if err := put("tokenstore/shifted.go", shiftedClock); err != nil {
		return "", err
	}
	for source, change := range map[string][2]string{
		"tokenstore/clock.go": {"time.Now()", "shiftedNow()"},
		"tokenstore/store.go": {"pruneInterval = time.Hour", "pruneInterval = 100 * time.Millisecond"},
	} {
		text, err := os.ReadFile(filepath.Join(tree, source))
		if err != nil {
			return "", err
		}
		if strings.Count(string(text), change[0]) != 1 {
			return "", fmt.Errorf("%s doesn't contain %q exactly once: update this test", source, change[0])
		}
		if err := put(source, strings.Replace(string(text), change[0], change[1], 1)); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", err
	}
	name = filepath.Join(dir, "mollygate-shifted")
	out, err := exec.Command("go", "build", "-C", "..", raceFlag, "-overlay", file, "-o", name,
		"./cmd/mollygate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building Caddy with a shifted clock: %w: %s", err, out)
	}
	return name, nil
})

// records holds what a wrong clock must not change: the audit log, and a token's history and
// counts.
type records struct {
	audit           []string
	history         map[string]uint64
	allowed, denied uint64
}

const day = 24 * time.Hour

// clockJumps are the amounts by which the test shifts the clock.
var clockJumps = []time.Duration{3 * 365 * day, -day, 400 * day, -20 * 365 * day, 40 * 365 * day, -time.Hour,
	26 * time.Hour}

// faultClock sets the clock forward and back while clients use tokens, and kills Caddy in
// between. Caddy must not prune anything or accept an invalid token. Once the clock has been
// corrected and Caddy has accepted it, everything must be as before.
func faultClock(f *fault) {
	program, err := shifted()
	if err != nil {
		f.Fatal(err)
	}
	c := newCaddy(f.T, nil)
	c.program = program
	c.env["STORE"], c.env["CLOCK_SHIFT"] = c.path("tokens.db"), c.path("shift")
	site := strings.Replace(countingSite, "account default\n", "account default\n\t\tmax_lifetime unlimited\n", 1)
	set := func(shift time.Duration) {
		f.Helper()
		// Rename the file into place, so that Caddy never reads a partial file.
		if err := os.Rename(c.write("shift.new", shift.String()), c.path("shift")); err != nil {
			f.Fatal(err)
		}
	}
	set(0)
	c.start(site)
	tokens := makeCounted(c)[:20]
	for _, n := range tokens { // these tokens never expire
		n.token = c.token("--scope", "test:allowed", "--expires-in", "never")
	}
	good := c.token("--scope", "test:allowed", "--quota", "1000/day", "--rate-limit", "1000/1h")
	dead := map[string]string{}
	for _, way := range []string{"deleted", "revoked", "disabled", "rotated", "expired"} {
		dead[way] = c.token("--scope", "test:allowed")
		c.wantStatus("a token that isn't yet "+way, dead[way], http.StatusOK)
		c.withdraw(dead[way], way)
	}
	dead["not valid yet"] = c.token("--scope", "test:allowed", "--not-before",
		time.Now().Add(60*day).UTC().Format(time.RFC3339))
	for range 5 {
		c.wantStatus("a token", good, http.StatusOK)
	}
	create := func() (id string, replayed bool) {
		f.Helper()
		status, header, body := curl(f.T, "--unix-socket", c.path("admin.sock"), "-H", "Content-Type: application/json",
			"-H", "Idempotency-Key: once",
			"-d", `{"name":"once","scopes":["test:allowed"],"expires_in":"1d"}`, "http://caddy/api_tokens/v1/tokens")
		id, _ = problem(f.T, body)["id"].(string)
		if id == "" {
			f.Fatalf("status %d: %s", status, body)
		}
		return id, header.Get("Idempotency-Replayed") != ""
	}
	once, _ := create()
	look := func() (k records) {
		f.Helper()
		var page struct {
			Data []struct {
				Time, Action string
				TokenID      string `json:"token_id"`
			}
		}
		c.decode(c.getAdmin("/api_tokens/v1/audit?limit=200"), &page)
		for _, entry := range page.Data {
			if entry.Action != "accept clock" {
				k.audit = append(k.audit, entry.Time+" "+entry.Action+" "+entry.TokenID)
			}
		}
		var series struct {
			Data []struct {
				Time, Scope, Outcome string
				Count                uint64
			}
		}
		c.decode(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(good)+"/usage?step=hour"), &series)
		k.history = make(map[string]uint64)
		for _, point := range series.Data {
			k.history[point.Time+" "+point.Outcome] += point.Count
		}
		k.allowed, k.denied = c.usage(good)
		return k
	}
	before := look()
	allDead := func(when string) {
		f.Helper()
		for way, token := range dead {
			if status := c.statusOf(token, "/allowed"); status == http.StatusOK {
				f.Errorf("%s: a token that is %s got status 200", when, way)
			}
		}
	}
	allDead("at first")
	jumps := append([]time.Duration(nil), clockJumps[:2]...)
	for range f.size(0, 20) {
		jumps = append(jumps, clockJumps[f.random.IntN(len(clockJumps))])
	}
	for _, jump := range jumps {
		stop := useMeanwhile(c, tokens, f.random.Uint64())
		answeredMore(c, tokens, 500)
		begins := dead["not valid yet"]
		if jump > 60*day {
			delete(dead, "not valid yet") // the token is now valid
		}
		set(jump)
		when := fmt.Sprintf("with a clock that is wrong by %s", jump)
		mark := c.logMark()
		switch {
		case jump > day:
			c.eventually("healthz warns of a clock that is ahead",
				func() bool { return strings.Contains(c.healthWarning(), "ahead") })
		case jump < 0:
			c.eventually("the log says that the clock is behind", func() bool {
				return strings.Contains(c.logSince(mark), "the clock is behind") ||
					strings.Contains(c.healthWarning(), "behind")
			})
		}
		answeredMore(c, tokens, 500) // Caddy prunes old records meanwhile
		allDead(when)
		if f.random.IntN(2) == 0 {
			stop()
			c.restart(site)
			allDead(when + ", after a kill")
			stop = useMeanwhile(c, tokens, f.random.Uint64())
			answeredMore(c, tokens, 500)
		}
		set(0)
		answeredMore(c, tokens, 500)
		allDead("after a clock that was wrong by " + jump.String())
		if _, stderr, code := c.run("api-token", "clock", "accept", "--yes"); code != 0 {
			f.Errorf("got exit code %d: %s", code, stderr)
		}
		c.eventually("healthz shows no warning", func() bool { return c.healthWarning() == "" })
		answeredMore(c, tokens, 500)
		stop()
		dead["not valid yet"] = begins
		allDead("after the clock was accepted")
		if after := look(); !reflect.DeepEqual(after, before) {
			f.Errorf("after a clock that was wrong by %s: got records %+v, want %+v", jump, after, before)
		}
		if id, replayed := create(); id != once || !replayed {
			f.Errorf("after a clock that was wrong by %s: a repeated request created token %s, want %s", jump, id, once)
		}
		c.wantStatus("a token", good, http.StatusOK)
		before = look()
		if f.Failed() {
			return
		}
	}
	last := settled(c, tokens)
	c.restart(site)
	allDead("at the end")
	if got := settled(c, tokens); got != last {
		f.Errorf("after a kill: counted %d requests, want %d", got, last)
	}
}

// settled checks the tokens' totals and returns their sum. It doesn't check the history,
// because a wrong clock spreads counts over several days.
func settled(c *caddy, tokens []*counted) (sum uint64) {
	c.t.Helper()
	for _, n := range tokens {
		allowed, denied := c.usage(n.token)
		if allowed+denied != n.now.answered {
			c.t.Errorf("%s (%s): counted %d, want %d", n.name, tokenID(n.token), allowed+denied, n.now.answered)
		}
		sum += allowed + denied
	}
	return sum
}
