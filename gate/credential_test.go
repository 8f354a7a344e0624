package gate

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

func TestBearer(t *testing.T) {
	for _, tt := range []struct {
		values []string
		token  string
		code   Code
	}{
		{nil, "", MissingToken},
		{[]string{}, "", MissingToken},
		{[]string{""}, "", MissingToken},
		{[]string{" \t "}, "", MissingToken},
		{[]string{"Basic eDp5"}, "", MissingToken},
		{[]string{"Bearer: abc"}, "", MissingToken},
		{[]string{"Bearerabc"}, "", MissingToken},
		{[]string{"Bearer-abc def"}, "", MissingToken},
		{[]string{"abc"}, "", MissingToken},
		{[]string{"Beare"}, "", MissingToken},
		{[]string{"\u212aearer abc"}, "", MissingToken},
		{[]string{`Digest username="x", realm="y"`}, "", MissingToken},

		{[]string{"Bearer abc"}, "abc", ""},
		{[]string{"bearer abc"}, "abc", ""},
		{[]string{"BEARER abc"}, "abc", ""},
		{[]string{"BeArEr abc"}, "abc", ""},
		{[]string{"Bearer aZ09-._~+/=="}, "aZ09-._~+/==", ""},
		{[]string{"\tBearer abc\t "}, "abc", ""},
		{[]string{"Bearer abc "}, "abc", ""},

		{[]string{"Bearer"}, "", InvalidRequest},
		{[]string{"Bearer "}, "", InvalidRequest},
		{[]string{"Bearer \t"}, "", InvalidRequest},
		{[]string{"Bearer  abc"}, "", InvalidRequest},
		{[]string{"Bearer\tabc"}, "", InvalidRequest},
		{[]string{"Bearer \tabc"}, "", InvalidRequest},
		{[]string{"Bearer abc def"}, "", InvalidRequest},
		{[]string{"Bearer abc, Bearer abc"}, "", InvalidRequest},
		{[]string{"Bearer abc,"}, "", InvalidRequest},
		{[]string{"Bearer,abc"}, "", InvalidRequest},
		{[]string{"Bearer , Bearer abc"}, "", InvalidRequest},
		{[]string{"Bearer a=b"}, "", InvalidRequest},
		{[]string{"Bearer ="}, "", InvalidRequest},
		{[]string{`Bearer "abc"`}, "", InvalidRequest},
		{[]string{"Bearer a%62c"}, "", InvalidRequest},
		{[]string{"Bearer abc\x00"}, "", InvalidRequest},
		{[]string{"Bearer \u0430bc"}, "", InvalidRequest},
		{[]string{"Bearer abc\u00a0"}, "", InvalidRequest},
		{[]string{"Bearer abc", "Bearer abc"}, "", InvalidRequest},
		{[]string{"Bearer abc", ""}, "", InvalidRequest},
		{[]string{"", "Bearer abc"}, "", InvalidRequest},
		{[]string{"Basic eDp5", "Bearer abc"}, "", InvalidRequest},
	} {
		if token, code := bearer(tt.values); token != tt.token || code != tt.code {
			t.Errorf("%q: got token %q, code %q; want %q, %q", tt.values, token, code, tt.token, tt.code)
		}
	}
}

// These regular expressions restate the rules that bearer implements.
var (
	surroundingBlanks = regexp.MustCompile(`^[ \t]+|[ \t]+$`)
	bearerScheme      = regexp.MustCompile(`^(?i:bearer)([ \t,]|$)`)
	wellFormed        = regexp.MustCompile(`^(?i:bearer) ([A-Za-z0-9._~+/-]+=*)$`)
)

// bearer returns the text of a well-formed token, whether or not it has a valid checksum, or the
// code of a refusal.
func bearer(values []string) (token string, code Code) {
	if _, code = presented(nil, testPrefixes, values); code != "" && code != MalformedToken {
		return "", code
	}
	text, _ := bearerText(values)
	return text, ""
}

// TestRemovedPrefix checks that a token isn't accepted once its prefix has been removed from the
// configuration, even if the store still has it in memory.
func TestRemovedPrefix(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	for prefix, want := range map[string]string{"mm": "", "zz": "401 malformed_token"} {
		g := newTestGate(t, func(c *Config) { c.Prefixes = token.Prefixes{prefix} })
		var d Decision
		if g.Decide(tokens, request(tokens.good, nil), &d); refusalText(d.Refusal) != want {
			t.Errorf("prefix %s: got refusal %q, want %q", prefix, refusalText(d.Refusal), want)
		}
	}
}

// TestTokenOutOfUse checks that a token is parsed like any other if the store hasn't loaded it yet.
func TestTokenOutOfUse(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	tokens.outOfUse = true
	g := newTestGate(t, nil)
	for text, want := range map[string]string{
		tokens.good: "", tokens.unknown: "401 unknown_token", tokens.malformed: "401 malformed_token",
		tokens.good[:54] + " ": "401 malformed_token", tokens.good[:30] + " " + tokens.good[31:]: "400 invalid_request",
	} {
		var d Decision
		if g.Decide(tokens, request(text, nil), &d); refusalText(d.Refusal) != want {
			t.Errorf("got refusal %q, want %q", refusalText(d.Refusal), want)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, value := range []string{
		"", " ", "Bearer", "bearer abc", "Bearer  abc", "Bearer\tabc", "\tBearer abc ", "Bearer abc,def", "Bearer: abc",
		"Bearer a==", "Bearer a=b", "Basic abc", "B", "Be a", "Bearer,a", "Bearer " + tokenText("mmk", "unknown00000"),
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, code := bearer([]string{value})
		value = surroundingBlanks.ReplaceAllString(value, "")
		wantToken, wantCode := "", MissingToken
		if match := wellFormed.FindStringSubmatch(value); match != nil {
			wantToken, wantCode = match[1], ""
		} else if bearerScheme.MatchString(value) {
			wantCode = InvalidRequest
		}
		if token != wantToken || code != wantCode {
			t.Errorf("%q: got token %q, code %q; want %q, %q", value, token, code, wantToken, wantCode)
		}
	})
}

func TestAuthenticate(t *testing.T) {
	tokens := newTestTokens(t)
	disabledAdmin := tokens.add(t, "mma", "retired00000", func(token *token.Token) { token.DisabledAt = testNow })
	for name, tt := range map[string]struct {
		kind          token.Kind
		authorization []string
		want          string
		matched       bool
	}{
		"api":               {token.KindAPI, []string{"Bearer " + tokens.good}, "", true},
		"admin":             {token.KindAdmin, []string{"Bearer " + tokens.admin}, "", true},
		"admin as api":      {token.KindAPI, []string{"Bearer " + tokens.admin}, "403 wrong_kind", true},
		"api as admin":      {token.KindAdmin, []string{"Bearer " + tokens.good}, "403 wrong_kind", true},
		"kind before state": {token.KindAPI, []string{"Bearer " + disabledAdmin}, "403 wrong_kind", true},
		"disabled":          {token.KindAdmin, []string{"Bearer " + disabledAdmin}, "401 disabled_token", true},
		"revoked":           {token.KindAPI, []string{"Bearer " + tokens.revoked}, "401 revoked_token", true},
		"early":             {token.KindAPI, []string{"Bearer " + tokens.early}, "401 not_yet_valid", true},
		"expired":           {token.KindAPI, []string{"Bearer " + tokens.expired}, "401 expired_token", true},
		"unknown":           {token.KindAPI, []string{"Bearer " + tokens.unknown}, "401 unknown_token", false},
		"malformed":         {token.KindAPI, []string{"Bearer " + tokens.malformed}, "401 malformed_token", false},
		"upper case": {token.KindAPI, []string{"Bearer " + strings.ToUpper(tokens.good)},
			"401 malformed_token", false},
		"padded":    {token.KindAPI, []string{"Bearer " + tokens.good + "=="}, "401 malformed_token", false},
		"very long": {token.KindAPI, []string{"Bearer " + strings.Repeat("a", 15<<10)}, "401 malformed_token", false},
		"missing":   {token.KindAPI, nil, "401 missing_token", false},
		"invalid":   {token.KindAPI, []string{"Bearer"}, "400 invalid_request", false},
	} {
		t.Run(name, func(t *testing.T) {
			match, refusal := Authenticate(tokens, testPrefixes, tt.kind, tt.authorization, testNow)
			if got := refusalText(refusal); got != tt.want {
				t.Errorf("refusal %q, want %q", got, tt.want)
			}
			if match.Token.Known() != tt.matched {
				t.Errorf("got match %v, want a known token: %v", match.Token, tt.matched)
			}
			if refusal.Code != "" && refusal.Token != match.Token {
				t.Errorf("the refusal's token is %v, want %v", refusal.Token, match.Token)
			}
		})
	}
}

// TestWrongKindDetail checks that the refusal of the wrong kind of token names the right kind.
func TestWrongKindDetail(t *testing.T) {
	tokens := newTestTokens(t)
	_, atGate := Authenticate(tokens, testPrefixes, token.KindAPI, []string{"Bearer " + tokens.admin}, testNow)
	_, atAdmin := Authenticate(tokens, testPrefixes, token.KindAdmin, []string{"Bearer " + tokens.good}, testNow)
	if got := atGate.Problem().Detail; !strings.HasSuffix(got, "Use an API key.") {
		t.Errorf("gate: got detail %q, want it to ask for an API key", got)
	}
	if got := atAdmin.Problem().Detail; !strings.HasSuffix(got, "Use an admin key.") {
		t.Errorf("admin API: got detail %q, want it to ask for an admin key", got)
	}
}

func TestAuthenticateStoreError(t *testing.T) {
	cause := errors.New("the disk is gone")
	match, refusal := Authenticate(&fakeStore{err: cause}, testPrefixes, token.KindAPI,
		[]string{"Bearer " + tokenText("mmk", "good00000000")}, testNow)
	if match.Token.Known() || refusalText(refusal) != "503 store_unavailable" || !errors.Is(refusal.Err, cause) {
		t.Errorf("got match %v, refusal %q, error %v", match.Token, refusalText(refusal), refusal.Err)
	}
}

// An unknown status must never result in an allowed request.
func TestRefuseStatus(t *testing.T) {
	for status, want := range map[token.Status]string{
		token.StatusActive:      "",
		token.StatusRevoked:     "401 revoked_token",
		token.StatusDisabled:    "401 disabled_token",
		token.StatusNotYetValid: "401 not_yet_valid",
		token.StatusExpired:     "401 expired_token",
		0:                       "503 store_unavailable",
		99:                      "503 store_unavailable",
	} {
		if got := refusalText(RefuseStatus(status)); got != want {
			t.Errorf("status %v: got refusal %q, want %q", status, got, want)
		}
	}
}
