package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var killSeed = flag.Uint64("kill.seed", 0, "seed for random choices; 0 derives it from the clock")

const (
	countingClients = 64
	countingTokens  = 100

	// usageFile is the name of the usage journal, next to the store.
	usageFile = "tokens.db.journal"

	// Caddy logs these messages when saving usage fails or resumes, and when counts start or
	// stop being at risk from a kill.
	logUnsaved = "saving token usage failed"
	logSaved   = "token usage is being saved again"
	logAtRisk  = "unsaved token usage would be lost"
	logRenewed = "the usage journal was recreated"
	logSafe    = "unsaved token usage is protected by the usage journal again"
)

// countingSite responds without a backend, so that clients can send as many requests as
// possible.
const countingSite = `{
	admin unix/{$DIR}/admin.sock
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	api_tokens {
		store bbolt {$STORE}
		account default
	}
}
http://127.0.0.1:{$HTTP} {
	route {
		bearer_auth {
			route GET /allowed test:allowed
			route GET /other test:other
			route GET /denied test:denied
		}
		respond ok
	}
}
`

// scopeOf returns the scope that a countingSite path requires.
func scopeOf(path string) string { return "test:" + path[1:] }

// beforeRoute contains the refusals that are counted without a scope, because the gate issues
// them before it looks up the route.
var beforeRoute = map[string]bool{"revoked_token": true, "expired_token": true}

// counted holds a token, how clients use it, and the expected usage counts.
type counted struct {
	name, token string
	// old is the previous secret after a rotation, or empty if there was none.
	old string
	// paths are the paths that clients request. A path listed twice is requested twice as
	// often.
	paths []string
	// agent is the clients' User-Agent, which tests change only while no client runs. If
	// agents is set, each request has a different User-Agent.
	agent  string
	agents bool
	// addresses is the number of client addresses in addition to 127.0.0.1.
	addresses int
	// quota is the number of requests per day, or 0 for no quota.
	quota uint64
	// ends reports whether requests may also be refused for reasons other than a missing
	// scope.
	ends bool

	mu  sync.Mutex
	now ledger
	// before is the usage that the server reported at the last comparison, and all holds the
	// sums since the start.
	before shownUse
	all    sums
}

// ledger records what the clients know about their requests since the last comparison.
type ledger struct {
	sent, answered uint64
	outcomes       map[count]uint64
	// unanswered counts requests without a response, by scope.
	unanswered map[string]uint64
	// lasts holds the requests that may be the token's last use: those that were allowed and
	// those that got no response.
	lasts []sentRequest
	// newest is the start time of the most recent allowed request, and newestOld that of the
	// most recent one made with the previous secret.
	newest, newestOld time.Time
}

// count is a key of a token's usage history.
type count struct{ scope, outcome string }

// sentRequest is a request together with the times between which the server handled it.
type sentRequest struct {
	begun, ended          time.Time
	address, agent, route string
}

// sums are totals over all tokens.
type sums struct{ sent, answered, counted uint64 }

// makeCounted creates tokens that clients all use the same way; the gate refuses one request
// in four.
func makeCounted(c *caddy) []*counted {
	tokens := make([]*counted, countingTokens)
	for i := range tokens {
		tokens[i] = &counted{
			name: fmt.Sprint("token ", i), token: c.token("--scope", "test:allowed"),
			paths: []string{"/allowed", "/allowed", "/allowed", "/denied"},
		}
	}
	return tokens
}

// useTokens runs clients that use the tokens until the context ends. It calls failed for each
// error.
func useTokens(ctx context.Context, c *caddy, tokens []*counted, failed func(error)) {
	useTokensBy(ctx, c, tokens, rand.Uint64(), failed)
}

// useTokensBy is like useTokens but takes a seed.
func useTokensBy(ctx context.Context, c *caddy, tokens []*counted, seed uint64, failed func(error)) {
	transport := &http.Transport{MaxIdleConnsPerHost: countingClients}
	defer transport.CloseIdleConnections()
	useTokensOver(ctx, c, transport, tokens, seed, failed)
}

// useTokensOver is like useTokensBy but takes a transport.
func useTokensOver(ctx context.Context, c *caddy, transport http.RoundTripper, tokens []*counted, seed uint64,
	failed func(error)) {
	var all sync.WaitGroup
	for client := range countingClients {
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		all.Go(func() {
			for ctx.Err() == nil {
				if err := tokens[random.IntN(len(tokens))].use(c, transport, random); err != nil {
					failed(err)
				}
			}
		})
	}
	all.Wait()
}

// use requests one of the paths once.
func (n *counted) use(c *caddy, transport http.RoundTripper, random *rand.Rand) error {
	_, err := n.useFor(c, n.paths[random.IntN(len(n.paths))], transport, random)
	return err
}

// useFor makes one request and returns the response header.
func (n *counted) useFor(c *caddy, path string, transport http.RoundTripper, random *rand.Rand) (http.Header, error) {
	request, err := http.NewRequest(http.MethodGet, c.url(path), nil)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	secret, old := n.token, n.old != "" && random.IntN(2) == 0
	if old {
		secret = n.old
	}
	n.mu.Unlock()
	sent := sentRequest{address: "127.0.0.1", agent: n.agent, route: "GET " + path}
	if n.agents {
		sent.agent += "/" + strconv.FormatUint(random.Uint64(), 36)
	}
	if i := random.IntN(n.addresses + 1); i > 0 {
		sent.address = fmt.Sprint("203.0.113.", i)
		request.Header.Set("X-Forwarded-For", sent.address)
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	request.Header.Set("User-Agent", sent.agent)
	// If a connection breaks, the transport retries on another one.
	tries := uint64(0)
	request = request.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { tries++ },
	}))
	sent.begun = time.Now()
	response, err := transport.RoundTrip(request)
	if tries == 0 {
		return nil, err // the client sent nothing
	}
	outcome := ""
	if err == nil {
		outcome, err = outcomeOf(response)
	}
	sent.ended = time.Now()
	n.note(&sent, tries, path, outcome, old)
	switch {
	case err != nil:
		return nil, err
	case outcome != "ok" && outcome != "insufficient_scope" && !n.ends:
		return nil, refusedError(fmt.Sprintf("%s of %s: status %d, %s", path, n.name, response.StatusCode, outcome))
	}
	return response.Header, nil
}

// refusedError describes a request that was wrongly refused.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// outcomeOf returns a response's outcome, named as in the usage history.
func outcomeOf(response *http.Response) (string, error) {
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode == http.StatusOK {
		return "ok", err
	}
	var problem struct{ Code string }
	if err := json.Unmarshal(body, &problem); err != nil {
		return "", fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	return problem.Code, nil
}

// note records a request in the ledger, along with the number of times it was sent. The
// outcome is empty if there was no response.
func (n *counted) note(sent *sentRequest, tries uint64, path, outcome string, old bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &n.now
	if l.outcomes == nil {
		l.outcomes, l.unanswered = make(map[count]uint64), make(map[string]uint64)
	}
	l.sent += tries
	if outcome != "" {
		tries--
		l.answered++
		kind := count{scopeOf(path), outcome}
		if beforeRoute[outcome] {
			kind.scope = ""
		}
		l.outcomes[kind]++
	}
	l.unanswered[scopeOf(path)] += tries
	if outcome == "" || outcome == "ok" {
		l.lasts = append(l.lasts, *sent)
	}
	if outcome != "ok" {
		return
	}
	if sent.begun.After(l.newest) {
		l.newest = sent.begun
	}
	if old && sent.begun.After(l.newestOld) {
		l.newestOld = sent.begun
	}
}

// shownUse is a token's usage as reported by the admin API.
type shownUse struct {
	Allowed   uint64     `json:"usage_count"`
	Denied    uint64     `json:"denied_count"`
	LastAt    *time.Time `json:"last_used_at"`
	LastIP    string     `json:"last_used_ip"`
	LastAgent string     `json:"last_used_user_agent"`
	LastRoute string     `json:"last_used_route"`

	days, hours map[count]uint64
	// today returns the number of requests allowed today.
	today uint64
}

func (u *shownUse) last() string {
	at := "never"
	if u.LastAt != nil {
		at = u.LastAt.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s from %s by %q to %q", at, u.LastIP, u.LastAgent, u.LastRoute)
}

// shown returns the token's usage as reported by the admin API.
func (n *counted) shown(c *caddy) (u shownUse) {
	c.t.Helper()
	path := "/api_tokens/v1/tokens/" + tokenID(n.token)
	if err := json.Unmarshal([]byte(c.getAdmin(path)), &u); err != nil {
		c.t.Fatal(err)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for step, into := range map[string]*map[count]uint64{"day": &u.days, "hour": &u.hours} {
		var series struct {
			Data []struct {
				Time           time.Time
				Scope, Outcome string
				Count          uint64
			}
		}
		if err := json.Unmarshal([]byte(c.getAdmin(path+"/usage?step="+step)), &series); err != nil {
			c.t.Fatal(err)
		}
		*into = make(map[count]uint64)
		for _, point := range series.Data {
			(*into)[count{point.Scope, point.Outcome}] += point.Count
			if step == "day" && point.Outcome == "ok" && point.Time.Equal(today) {
				u.today += point.Count
			}
		}
	}
	return u
}

// checkUsage compares the server's counts with the clients' and checks that every answered
// request is counted and that every counted request was sent. It returns the sums since the
// start. It stops the test after finding three tokens with wrong counts.
func checkUsage(c *caddy, tokens []*counted) (all sums) {
	c.t.Helper()
	wrong := 0
	for _, n := range tokens {
		if !n.compare(c) {
			wrong++
		}
		if wrong == 3 {
			c.t.Fatal("stopping after three tokens with wrong counts")
		}
		all.sent, all.answered, all.counted = all.sent+n.all.sent, all.answered+n.all.answered,
			all.counted+n.all.counted
	}
	return all
}

// compare checks a token's usage since the last comparison and reports whether it is right.
// The next comparison starts from the usage that the server reported this time.
func (n *counted) compare(c *caddy) (right bool) {
	c.t.Helper()
	shown := n.shown(c)
	n.mu.Lock()
	defer n.mu.Unlock()
	right = true
	now, wrong := &n.now, func(what, format string, args ...any) {
		c.t.Helper()
		right = false
		c.t.Errorf("%s of %s (%s): %s", what, n.name, tokenID(n.token), fmt.Sprintf(format, args...))
	}
	var unanswered, allowed, denied uint64
	for _, unknown := range now.unanswered {
		unanswered += unknown
	}
	for kind, number := range now.outcomes {
		if kind.outcome == "ok" {
			allowed += number
		} else {
			denied += number
		}
	}
	for _, total := range []struct {
		name                    string
		before, answered, shown uint64
	}{{"allowed", n.before.Allowed, allowed, shown.Allowed}, {"denied", n.before.Denied, denied, shown.Denied}} {
		if least := total.before + total.answered; total.shown < least || total.shown > least+unanswered {
			wrong("totals", "%d %s, want %d (%d new) and up to %d unanswered", total.shown,
				total.name, least, total.answered, unanswered)
		}
	}
	if before := n.before.Allowed + n.before.Denied; shown.Allowed+shown.Denied > before+now.sent {
		wrong("totals", "%d, was %d before, and %d requests were sent", shown.Allowed+shown.Denied, before, now.sent)
	}
	n.compareSeries(&shown, unanswered, wrong)
	n.compareLast(&shown, wrong)
	n.all.sent, n.all.answered, n.all.counted = n.all.sent+now.sent, n.all.answered+now.answered,
		shown.Allowed+shown.Denied
	n.before, n.now = shown, ledger{}
	return right
}

// checkUsageAfterLoss is like checkUsage, for cases in which counts may have been lost. It
// checks that no count from an earlier comparison is lost and that the history agrees with the
// totals.
func checkUsageAfterLoss(c *caddy, tokens []*counted) {
	c.t.Helper()
	for _, n := range tokens {
		shown := n.shown(c)
		n.mu.Lock()
		before, total := n.before.Allowed+n.before.Denied, shown.Allowed+shown.Denied
		if shown.Allowed < n.before.Allowed || shown.Denied < n.before.Denied || total > before+n.now.sent {
			c.t.Errorf("%s (%s): the server counted %d allowed and %d denied, earlier %d and %d; clients sent %d",
				n.name, tokenID(n.token), shown.Allowed, shown.Denied, n.before.Allowed, n.before.Denied, n.now.sent)
		}
		for step, series := range map[string]map[count]uint64{"days": shown.days, "hours": shown.hours} {
			if sum := sumOf(series); sum != total {
				c.t.Errorf("sum of %s of %s (%s): %d, want %d", step, n.name, tokenID(n.token), sum, total)
			}
		}
		n.before, n.now = shown, ledger{}
		n.mu.Unlock()
	}
}

func sumOf(series map[count]uint64) (sum uint64) {
	for _, number := range series {
		sum += number
	}
	return sum
}

// healthWarning returns healthz's warning, or an empty string if there is none. While the
// store isn't writable, it returns only the detail about the journal.
func (c *caddy) healthWarning() string {
	c.t.Helper()
	var health struct {
		Warning string
		Checks  struct{ Journal struct{ Detail string } }
	}
	if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/healthz")), &health); err != nil {
		c.t.Fatal(err)
	}
	return cmp.Or(health.Warning, health.Checks.Journal.Detail)
}

// waitForLog waits until the log contains text at least the given number of times.
func (c *caddy) waitForLog(text string, times int) {
	c.t.Helper()
	c.eventually("the log says "+text, func() bool { return strings.Count(c.output.String(), text) >= times })
}

// useFor runs clients that use the tokens for the given duration.
func useFor(c *caddy, tokens []*counted, duration time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), duration)
	defer cancel()
	useTokens(ctx, c, tokens, func(err error) { c.t.Error(err) })
}

// countFor runs clients that use the tokens for the given duration, then compares the counts.
func countFor(c *caddy, tokens []*counted, duration time.Duration) {
	c.t.Helper()
	useFor(c, tokens, duration)
	checkUsage(c, tokens)
}

// compareSeries verifies that the history adds up to the totals and that each of its counts is
// right.
func (n *counted) compareSeries(shown *shownUse, unanswered uint64, wrong func(what, format string, args ...any)) {
	for step, series := range map[string]map[count]uint64{"days": shown.days, "hours": shown.hours} {
		var allowed, denied uint64
		kinds := make(map[count]bool)
		for kind, number := range series {
			kinds[kind] = true
			if kind.outcome == "ok" {
				allowed += number
			} else {
				denied += number
			}
		}
		if allowed != shown.Allowed || denied != shown.Denied {
			wrong("sum of "+step, "%d allowed and %d denied, want %d and %d", allowed, denied, shown.Allowed,
				shown.Denied)
		}
		before := n.before.days
		if step == "hours" {
			before = n.before.hours
		}
		for kind := range n.now.outcomes {
			kinds[kind] = true
		}
		for kind := range kinds {
			unknown := n.now.unanswered[kind.scope]
			if beforeRoute[kind.outcome] {
				unknown = unanswered
			}
			if least := before[kind] + n.now.outcomes[kind]; series[kind] < least || series[kind] > least+unknown {
				wrong(step, "%d of %v, want %d (%d new) and up to %d unanswered",
					series[kind], kind, least, n.now.outcomes[kind], unknown)
			}
		}
	}
}

// compareLast verifies that the last use matches a request at least as recent as the newest
// answered one.
func (n *counted) compareLast(shown *shownUse, wrong func(what, format string, args ...any)) {
	newest := n.now.newest
	if newest.IsZero() && shown.last() == n.before.last() {
		return
	}
	if shown.LastAt == nil {
		wrong("last use", "never, want one at %s", newest)
		return
	}
	same := "no client sent such a request"
	for _, sent := range n.now.lasts {
		if sent.address != shown.LastIP || sent.agent != shown.LastAgent || sent.route != shown.LastRoute {
			continue
		}
		switch {
		case shown.LastAt.Before(sent.begun.Truncate(time.Second)) || shown.LastAt.After(sent.ended):
			same = "a client sent such a request at another time"
		case sent.ended.Before(newest):
			same = "the matching request ended earlier"
		default:
			return
		}
	}
	wrong("last use", "%s: %s; the newest answered request began at %s", shown.last(), same,
		newest.UTC().Format(time.RFC3339Nano))
}

// compareQuota sends one request to verify that the gate has charged the quota for exactly the
// counted requests.
func (n *counted) compareQuota(c *caddy, random *rand.Rand) {
	c.t.Helper()
	today, shown := time.Now().UTC().YearDay(), n.shown(c)
	header, err := n.useFor(c, "/allowed", http.DefaultTransport, random)
	if err != nil {
		c.t.Fatal(err)
	}
	if today != time.Now().UTC().YearDay() {
		return // a new quota period has begun
	}
	limit := header.Get("RateLimit")
	_, rest, _ := strings.Cut(limit, `"quota";r=`)
	text, _, _ := strings.Cut(rest, ";")
	remaining, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		c.t.Fatalf("got RateLimit %q: %v", limit, err)
	}
	if want := n.quota - min(shown.today+1, n.quota); shown.today > n.quota || remaining != want {
		c.t.Errorf("quota of %s (%s): %d of %d remain, want %d; %d were counted", n.name, tokenID(n.token),
			remaining, n.quota, want, shown.today)
	}
}

// newSeed returns the seed for a test's random choices and logs it.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-kill.seed %d", seed)
	return seed
}
