package gate

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var (
	testNow      = time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	testPrefixes = token.Prefixes{"mm", "xy"}
)

// tokenText returns the text of a token with this id and a secret derived from it.
func tokenText(prefixAndKind, id string) string {
	text := prefixAndKind + "_" + id + "_" + strings.Repeat(id, 3)[:32]
	sum := crc32.ChecksumIEEE([]byte(text))
	check := []byte("000000")
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum%62]
		sum /= 62
	}
	return text + string(check)
}

// fakeStore is a Store that contains the tokens added to it.
type fakeStore struct {
	known map[token.Digest]knownToken
	// outOfUse makes InUse return false for all tokens.
	outOfUse bool
	// err, if set, is returned by Authenticate.
	err error
	// asked counts the calls to Authenticate.
	asked int
	// rates and quotas count requests per token. They are never reset.
	rates, quotas map[token.ID]int64
	// quotaErr, if set, is returned by the quota methods.
	quotaErr error
}

type knownToken struct {
	token     *token.Token
	principal tokenstore.Principal
}

func (s *fakeStore) InUse(digest token.Digest) bool {
	_, ok := s.known[digest]
	return ok && !s.outOfUse
}

func (s *fakeStore) Authenticate(c token.Credential, now time.Time) (tokenstore.Match, error) {
	s.asked++
	if s.err != nil {
		return tokenstore.Match{}, s.err
	}
	known, ok := s.known[c.Digest]
	if !ok {
		return tokenstore.Match{}, tokenstore.ErrNotFound
	}
	return tokenstore.Match{Token: known.principal, Status: known.token.Status(now), Digest: c.Digest}, nil
}

func (s *fakeStore) TakeRate(m tokenstore.Match, now time.Time) token.Standing {
	standing := s.RateStanding(m.Token, now)
	if standing.Limit > 0 && !standing.Exceeded {
		s.rates[m.Token.ID]++
		standing.Remaining--
	}
	return standing
}

func (s *fakeStore) RateStanding(tok tokenstore.Principal, _ time.Time) token.Standing {
	limit := tok.RateLimit
	if limit.Requests == 0 {
		return token.Standing{}
	}
	left := limit.Requests - s.rates[tok.ID]
	return token.Standing{Limit: limit.Requests, Window: limit.Window, Remaining: left, Reset: limit.Window / 2,
		Exceeded: left == 0}
}

func (s *fakeStore) TakeQuota(m tokenstore.Match, now time.Time) (tokenstore.Reservation, token.Standing, error) {
	standing, err := s.QuotaStanding(m.Token, now)
	if standing.Limit > 0 && !standing.Exceeded {
		s.quotas[m.Token.ID]++
		standing.Remaining--
	}
	return tokenstore.Reservation{}, standing, err
}

func (s *fakeStore) QuotaStanding(tok tokenstore.Principal, _ time.Time) (token.Standing, error) {
	quota := tok.Quota
	if quota.Requests == 0 || s.quotaErr != nil {
		return token.Standing{}, s.quotaErr
	}
	left := quota.Requests - s.quotas[tok.ID]
	return token.Standing{Limit: quota.Requests, Window: 31 * 24 * time.Hour, Remaining: left,
		Reset: 36*time.Hour - time.Millisecond, Exceeded: left == 0}, nil
}

// add adds a token and returns its text.
func (s *fakeStore) add(t testing.TB, prefixAndKind, id string, change func(*token.Token)) string {
	t.Helper()
	text := tokenText(prefixAndKind, id)
	credential, err := testPrefixes.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	tok := &token.Token{
		ID: credential.ID, Terms: token.Terms{Kind: credential.Kind, Account: "alice", Scopes: token.Grants{"*"}},
		Format:    token.FormatNative,
		Name:      "ci " + id,
		ExpiresAt: testNow.Add(time.Hour),
	}
	if change != nil {
		change(tok)
	}
	if s.known == nil {
		s.known = make(map[token.Digest]knownToken)
		s.rates, s.quotas = make(map[token.ID]int64), make(map[token.ID]int64)
	}
	s.known[credential.Digest] = knownToken{tok, tokenstore.PrincipalOf(tok)}
	return text
}

// testTokens contains one token per kind of refusal.
type testTokens struct {
	*fakeStore
	good, reader, admin, expired, early, revoked, disabled, local, unknown, malformed string
}

func newTestTokens(t testing.TB) testTokens {
	t.Helper()
	s := &fakeStore{}
	past := testNow.Add(-time.Hour)
	return testTokens{
		fakeStore: s,
		good:      s.add(t, "mmk", "good00000000", nil),
		reader:    s.add(t, "mmk", "reader000000", func(tok *token.Token) { tok.Scopes = token.Grants{"report:read"} }),
		admin:     s.add(t, "mma", "admin0000000", nil),
		expired:   s.add(t, "mmk", "expired00000", func(token *token.Token) { token.ExpiresAt = testNow }),
		early: s.add(t, "mmk", "early0000000",
			func(token *token.Token) { token.NotBefore = testNow.Add(time.Second) }),
		revoked: s.add(t, "mmk", "revoked00000", func(token *token.Token) {
			token.RevokedAt, token.DisabledAt, token.ExpiresAt = past, past, past
		}),
		disabled: s.add(t, "mmk", "disabled0000", func(token *token.Token) {
			token.DisabledAt, token.NotBefore, token.ExpiresAt = past, testNow.Add(time.Second), past
		}),
		local: s.add(t, "mmk", "local0000000", func(token *token.Token) {
			token.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("2001:db8::/32")}
		}),
		unknown:   tokenText("mmk", "unknown00000"),
		malformed: strings.Replace(tokenText("mmk", "good00000000"), "good", "goof", 1),
	}
}

// testRoutes returns one route of each kind.
func testRoutes() []Route {
	named := func(name string) token.Scope { return token.Scope{Name: name} }
	return []Route{
		{Method: "GET", Path: "/api/report", Scope: named("report:read")},
		{Method: "POST", Path: "/api/report", Aliases: []string{"/old/report"}, Scope: named("report:write")},
		{Method: "POST", Path: "/api/image", Scope: named("image:write"), Upload: true},
		{Method: "GET", Path: "/api/logs/*/live", Scope: named("log:read"), WebSocket: true},
		{Method: "GET", Path: "/api/other-users", Scope: token.Scope{Name: "monitoring:read", Explicit: true}},
	}
}

func newTestGate(t testing.TB, change func(*Config)) *Gate {
	t.Helper()
	config := Config{Table: Table{Routes: testRoutes()}, Prefixes: testPrefixes, MaxBody: 1000, MaxUpload: 1_000_000}
	if change != nil {
		change(&config)
	}
	g, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// request returns a valid request with the token, modified by change.
func request(token string, change func(*Request)) *Request {
	r := &Request{
		Method: "GET", Path: "/api/report", Authorization: []string{"Bearer " + token},
		ClientIP: "192.0.2.1", Now: testNow,
	}
	if change != nil {
		change(r)
	}
	return r
}

// refusalText returns the status and code of a refusal, or "".
func refusalText(r Refusal) string {
	if r.Code == "" {
		return ""
	}
	return fmt.Sprintf("%d %s", r.Status, r.Code)
}

func decide(g *Gate, store Store, r *Request) Decision {
	var d Decision
	g.Decide(store, r, &d)
	return d
}
