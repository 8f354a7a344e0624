package gate

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestRecheck changes a token after the gate has allowed a request. Recheck must make the same
// decision that Decide would make for a new request with the token.
func TestRecheck(t *testing.T) {
	t.Parallel()
	past := testNow.Add(-time.Hour)
	for name, tt := range map[string]struct {
		change func(*token.Token)
		// gone is the error that the store returns instead of the token.
		gone error
		// accounts lists the accounts configured during the recheck; nil leaves them
		// unchanged.
		accounts map[string]bool
		later    time.Duration
		want     string
	}{
		"unchanged": {},
		"renamed":   {change: func(token *token.Token) { token.Name = "x" }},
		"widened":   {change: func(tok *token.Token) { tok.Scopes = token.Grants{"*", "x:y"} }},
		"revoked":   {change: func(token *token.Token) { token.RevokedAt = past }, want: "401 revoked_token"},
		"disabled":  {change: func(token *token.Token) { token.DisabledAt = past }, want: "401 disabled_token"},
		"postponed": {change: func(token *token.Token) { token.NotBefore = testNow.Add(time.Hour) },
			want: "401 not_yet_valid"},
		"shortened": {change: func(token *token.Token) { token.ExpiresAt = past }, want: "401 expired_token"},
		"expired":   {later: time.Hour, want: "401 expired_token"},
		"narrowed": {change: func(tok *token.Token) { tok.Scopes = token.Grants{"report:write"} },
			want: "403 insufficient_scope"},
		"restricted": {change: func(token *token.Token) { token.AllowedIPs = prefixes("10.0.0.0/8") },
			want: "403 ip_denied"},
		"restricted to here": {change: func(token *token.Token) { token.AllowedIPs = prefixes("192.0.2.0/24") }},
		"another kind": {change: func(tok *token.Token) { tok.Kind = token.KindAdmin },
			want: "403 wrong_kind"},
		"moved to an account that is not configured": {change: func(token *token.Token) { token.Account = "bob" },
			want: "502 account_not_configured"},
		"account removed":   {accounts: map[string]bool{}, want: "502 account_not_configured"},
		"deleted":           {gone: tokenstore.ErrNotFound, want: "401 unknown_token"},
		"damaged":           {gone: token.ErrDamaged, want: "503 store_unavailable"},
		"store unavailable": {gone: errors.New("unavailable"), want: "503 store_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accounts := map[string]bool{"alice": true}
			tokens := newTestTokens(t)
			g := newTestGate(t, func(c *Config) { c.HasAccount = func(name string) bool { return accounts[name] } })
			d := decide(g, tokens, request(tokens.good, nil))
			if d.Refused() {
				t.Fatalf("the request was refused as %q before the change", d.Refusal.Code)
			}
			if tt.accounts != nil {
				accounts = tt.accounts
			}
			if tt.change != nil {
				tt.change(tokens.known[d.Match.Digest].token)
				token := tokens.known[d.Match.Digest].token
				tokens.known[d.Match.Digest] = knownToken{token, tokenstore.PrincipalOf(token)}
			}
			tokens.err = tt.gone
			refusal := g.Recheck(tokens, &d.Finding, request("", nil).ClientIP, testNow.Add(tt.later))
			if got := refusalText(refusal); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if refusal.Code != "" && !refusal.Token.Known() {
				t.Error("the refusal doesn't contain the token")
			}
			if tt.gone == nil && d.Match.Token.Name() != tokens.known[d.Match.Digest].token.Name {
				t.Errorf("the finding's token is %q", d.Match.Token.Name())
			}
		})
	}
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}
