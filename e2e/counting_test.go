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

var killSeed = flag.Uint64("kill.seed", 0, "what clients and kills choose by; 0 is by the clock")

const (
	countingClients = 64
	countingTokens  = 100

	// usageFile is the usage journal's file, next to the store.
	usageFile = "tokens.db.journal"

	// Log messages of failed and resumed saves, and of when a kill would lose counts and
	// when it no longer would.
	saysUnsaved = "saving token usage failed"
	saysSaved   = "token usage is being saved again"
	saysAtRisk  = "token usage that is not saved yet would be lost"
	saysRenewed = "the usage journal was created anew"
	saysSafe    = "token usage survives the process again"
)

// countingSite answers by itself, so that as much as possible is counted.
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

// scopeOf returns the scope that a path of countingSite needs.
func scopeOf(path string) string { return "test:" + path[1:] }

// beforeRoute are the refusals of a request before it is known what it asks for.
var beforeRoute = map[string]bool{"revoked_token": true, "expired_token": true}

// counted is a token, how clients use it, and what they know of its use.
type counted struct {
	name, token string
	// old is the secret from before a rotation, or empty.
	old string
	// paths are what it is used for, each as often as it is listed.
	paths []string
	// agent is the clients' User-Agent; it is changed only while nobody counts. If
	// agents, each request has one of its own.
	agent  string
	agents bool
	// addresses is how many addresses it is used from besides 127.0.0.1.
	addresses int
	// quota is how many requests it has a day, or 0 for any number.
	quota uint64
	// ends says that it may be refused for another reason than its scopes.
	ends bool

	mu  sync.Mutex
	now ledger
	// before is what the server told when it was compared last, all over all times.
	before shownUse
	all    sums
}

// ledger is what clients know of the requests since the last comparison.
type ledger struct {
	sent, answered uint64
	outcomes       map[count]uint64
	// unanswered are by their scopes.
	unanswered map[string]uint64
	// lasts are the requests that may be the last use: those that were allowed, and
	// those without an answer.
	lasts []sentRequest
	// newest is when the newest allowed request was begun, and newestOld that with the
	// secret from before a rotation.
	newest, newestOld time.Time
}

// count is what the history of a token's use tells apart.
type count struct{ scope, outcome string }

// sentRequest is a request and the time in which the server had it.
type sentRequest struct {
	begun, ended          time.Time
	address, agent, route string
}

// sums are over all tokens.
type sums struct{ sent, answered, counted uint64 }

// makeCounted makes tokens that are used in one manner and denied once in four times.
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

// useTokens lets clients use the tokens until the context ends. failed is called
// with what goes wrong.
func useTokens(ctx context.Context, c *caddy, tokens []*counted, failed func(error)) {
	useTokensBy(ctx, c, tokens, rand.Uint64(), failed)
}

// useTokensBy is useTokens with a seed.
func useTokensBy(ctx context.Context, c *caddy, tokens []*counted, seed uint64, failed func(error)) {
	transport := &http.Transport{MaxIdleConnsPerHost: countingClients}
	defer transport.CloseIdleConnections()
	useTokensOver(ctx, c, transport, tokens, seed, failed)
}

// useTokensOver is useTokensBy with a transport.
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

// use makes one request for one of the paths.
func (n *counted) use(c *caddy, transport http.RoundTripper, random *rand.Rand) error {
	_, err := n.useFor(c, n.paths[random.IntN(len(n.paths))], transport, random)
	return err
}

// useFor makes one request and returns the header of its answer.
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
	// On a connection that breaks the transport tries again.
	tries := uint64(0)
	request = request.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { tries++ },
	}))
	sent.begun = time.Now()
	response, err := transport.RoundTrip(request)
	if tries == 0 {
		return nil, err // nothing was sent
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

// refusedError is a request that was refused although it should not have been.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// outcomeOf returns what the history calls an answer.
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

// note puts a request into the ledger, which was tried so often. The outcome is empty if
// there was no answer.
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

// shownUse is what the admin API tells of a token's use.
type shownUse struct {
	Allowed   uint64     `json:"usage_count"`
	Denied    uint64     `json:"denied_count"`
	LastAt    *time.Time `json:"last_used_at"`
	LastIP    string     `json:"last_used_ip"`
	LastAgent string     `json:"last_used_user_agent"`
	LastRoute string     `json:"last_used_route"`

	days, hours map[count]uint64
	// today is how many requests were allowed today.
	today uint64
}

func (u *shownUse) last() string {
	at := "never"
	if u.LastAt != nil {
		at = u.LastAt.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s from %s by %q to %q", at, u.LastIP, u.LastAgent, u.LastRoute)
}

// shown asks the admin API.
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

// holds compares the server's counts with the clients': no answered request is
// missing, and none is counted that wasn't sent. It returns the sums of all times. It
// ends the test if several tokens are wrong.
func holds(c *caddy, tokens []*counted) (all sums) {
	c.t.Helper()
	wrong := 0
	for _, n := range tokens {
		if !n.compare(c) {
			wrong++
		}
		if wrong == 3 {
			c.t.Fatal("more tokens are not compared")
		}
		all.sent, all.answered, all.counted = all.sent+n.all.sent, all.answered+n.all.answered,
			all.counted+n.all.counted
	}
	return all
}

// compare compares a token's use since the last comparison, and reports whether it is
// right. What the server tells is then what the next one begins with.
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
			wrong("totals", "%d %s, want %d, of which %d are new, and at most %d that were not answered", total.shown,
				total.name, least, total.answered, unanswered)
		}
	}
	if before := n.before.Allowed + n.before.Denied; shown.Allowed+shown.Denied > before+now.sent {
		wrong("totals", "%d, before it was %d, and %d were sent", shown.Allowed+shown.Denied, before, now.sent)
	}
	n.compareSeries(&shown, unanswered, wrong)
	n.compareLast(&shown, wrong)
	n.all.sent, n.all.answered, n.all.counted = n.all.sent+now.sent, n.all.answered+now.answered,
		shown.Allowed+shown.Denied
	n.before, n.now = shown, ledger{}
	return right
}

// settle is what holds is after counts may have been lost: none that were compared
// before, and the history agrees with the totals.
func settle(c *caddy, tokens []*counted) {
	c.t.Helper()
	for _, n := range tokens {
		shown := n.shown(c)
		n.mu.Lock()
		before, total := n.before.Allowed+n.before.Denied, shown.Allowed+shown.Denied
		if shown.Allowed < n.before.Allowed || shown.Denied < n.before.Denied || total > before+n.now.sent {
			c.t.Errorf("%s (%s): %d allowed and %d denied; before it was %d and %d, and %d were sent", n.name,
				tokenID(n.token), shown.Allowed, shown.Denied, n.before.Allowed, n.before.Denied, n.now.sent)
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

// healthWarning returns what healthz warns of, or nothing. While the store can't be written,
// that is only what it says of the journal.
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

// says waits until the log has said a text so often.
func (c *caddy) says(text string, times int) {
	c.t.Helper()
	c.eventually("the log says "+text, func() bool { return strings.Count(c.output.String(), text) >= times })
}

// useFor lets clients use the tokens for a time.
func useFor(c *caddy, tokens []*counted, duration time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), duration)
	defer cancel()
	useTokens(ctx, c, tokens, func(err error) { c.t.Error(err) })
}

// countFor lets clients use the tokens for a time and compares.
func countFor(c *caddy, tokens []*counted, duration time.Duration) {
	c.t.Helper()
	useFor(c, tokens, duration)
	holds(c, tokens)
}

// compareSeries verifies that the history's sum is the totals, and that each of its
// counts is right.
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
				wrong(step, "%d of %v, want %d, of which %d are new, and at most %d that were not answered",
					series[kind], kind, least, n.now.outcomes[kind], unknown)
			}
		}
	}
}

// compareLast verifies that the last use is that of one request, and none older than
// the newest that was answered.
func (n *counted) compareLast(shown *shownUse, wrong func(what, format string, args ...any)) {
	newest := n.now.newest
	if newest.IsZero() && shown.last() == n.before.last() {
		return
	}
	if shown.LastAt == nil {
		wrong("last use", "never, want one at %s", newest)
		return
	}
	same := "no request was so"
	for _, sent := range n.now.lasts {
		if sent.address != shown.LastIP || sent.agent != shown.LastAgent || sent.route != shown.LastRoute {
			continue
		}
		switch {
		case shown.LastAt.Before(sent.begun.Truncate(time.Second)) || shown.LastAt.After(sent.ended):
			same = "a request was so at another time"
		case sent.ended.Before(newest):
			same = "that request ended before"
		default:
			return
		}
	}
	wrong("last use", "%s: %s; the newest that was answered began at %s", shown.last(), same,
		newest.UTC().Format(time.RFC3339Nano))
}

// compareQuota verifies that the quota has lost what is counted, and no more, with one
// request.
func (n *counted) compareQuota(c *caddy, random *rand.Rand) {
	c.t.Helper()
	today, shown := time.Now().UTC().YearDay(), n.shown(c)
	header, err := n.useFor(c, "/allowed", http.DefaultTransport, random)
	if err != nil {
		c.t.Fatal(err)
	}
	if today != time.Now().UTC().YearDay() {
		return // the quota is a new one
	}
	limit := header.Get("RateLimit")
	_, rest, _ := strings.Cut(limit, `"quota";r=`)
	text, _, _ := strings.Cut(rest, ";")
	remaining, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		c.t.Fatalf("RateLimit is %q: %v", limit, err)
	}
	if want := n.quota - min(shown.today+1, n.quota); shown.today > n.quota || remaining != want {
		c.t.Errorf("quota of %s (%s): %d remain of %d, want %d: %d were counted before", n.name, tokenID(n.token),
			remaining, n.quota, want, shown.today)
	}
}

// newSeed returns what a test chooses by, and logs it.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-kill.seed %d", seed)
	return seed
}
