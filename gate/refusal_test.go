package gate

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
)

// TestRefusalTable checks the challenge, headers and body of each refusal. In challenges, R
// stands for the realm and … for any text.
func TestRefusalTable(t *testing.T) {
	const (
		bare           = `Bearer realm="R"`
		invalidRequest = `Bearer realm="R", error="invalid_request", error_description="…"`
		invalidToken   = `Bearer realm="R", error="invalid_token", error_description="…"`
	)
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	refusal := func(r *Request) Refusal { return decide(g, tokens, r).Refusal }
	guarded := newTestGate(t, func(c *Config) { c.Failures = NewFailureLimit(1, time.Minute) })
	decide(guarded, tokens, request(tokens.unknown, nil))
	rated, used := limited(t, &tokens, "rated0000000"), limited(t, &tokens, "used00000000")
	tokens.rates[token.ID([]byte("rated0000000"))], tokens.quotas[token.ID([]byte("used00000000"))] = 2, 3
	bound := tokens.add(t, "mmk", "bound0000000", bindTo("report/a"))
	noAccount := newTestGate(t, func(c *Config) { c.HasAccount = func(string) bool { return false } })
	route := &Route{}
	tests := map[Code]struct {
		refusal   Refusal
		status    int
		challenge string
		headers   http.Header    // in addition to Cache-Control, WWW-Authenticate and Vary
		members   map[string]any // in addition to the members that all bodies have
		matched   string
	}{
		MissingToken:   {refusal(request("", func(r *Request) { r.Authorization = nil })), 401, bare, nil, nil, ""},
		InvalidRequest: {refusal(request("a b", nil)), 400, invalidRequest, nil, nil, ""},
		TokenInURL: {refusal(request(tokens.good, func(r *Request) { r.TokenInURL = true })), 400, invalidRequest,
			nil, nil, ""},
		MalformedToken: {refusal(request(tokens.malformed, nil)), 401, invalidToken, nil, nil, ""},
		UnknownToken:   {refusal(request(tokens.unknown, nil)), 401, invalidToken, nil, nil, ""},
		WrongKind:      {refusal(request(tokens.admin, nil)), 403, "", nil, nil, "admin0000000"},
		ExpiredToken: {refusal(request(tokens.expired, nil)), 401, invalidToken, nil,
			map[string]any{"expired_at": "2026-08-21T12:00:00Z"}, "expired00000"},
		NotYetValid: {refusal(request(tokens.early, nil)), 401, invalidToken, nil,
			map[string]any{"not_before": "2026-08-21T12:00:01Z"}, "early0000000"},
		RevokedToken:  {refusal(request(tokens.revoked, nil)), 401, invalidToken, nil, nil, "revoked00000"},
		DisabledToken: {refusal(request(tokens.disabled, nil)), 401, invalidToken, nil, nil, "disabled0000"},
		InsufficientScope: {
			refusal(request(tokens.reader, func(r *Request) { r.Method = "POST" })), 403,
			`Bearer realm="R", error="insufficient_scope", scope="report:write"`, nil,
			map[string]any{"required_scope": "report:write"}, "reader000000",
		},
		ResourceNotAllowed: {refusal(request(bound, nil)), 403, "", nil, map[string]any{"resource": nil},
			"bound0000000"},
		AmbiguousTarget: {Refuse(AmbiguousTarget), 400, "", nil, nil, ""},
		RouteNotAllowed: {refusal(request(tokens.good, func(r *Request) { r.Path = "/x" })), 403, "", nil, nil,
			"good00000000"},
		IPDenied: {
			refusal(request(tokens.local, func(r *Request) { r.ClientIP = "::ffff:192.0.2.7" })),
			403,
			"", nil, map[string]any{"client_ip": "192.0.2.7"}, "local0000000",
		},
		MethodNotAllowed: {refusal(request(tokens.good, func(r *Request) { r.Method = "PUT" })), 405, "",
			http.Header{"Allow": {"GET, POST"}}, nil, "good00000000"},
		InvalidPath: {refusal(request(tokens.good, func(r *Request) { r.Path = "//" })), 400, "", nil, nil, ""},
		RateLimited: {
			refusal(request(rated, nil)), 429, "", http.Header{
				"Retry-After": {"30"}, "Ratelimit-Policy": {`"rate_limit";q=2;w=60`},
				"Ratelimit": {`"rate_limit";r=0;t=30`},
			}, nil, "rated0000000",
		},
		QuotaExceeded: {
			refusal(request(used, nil)), 429, "", http.Header{
				"Retry-After":      {"129600"},
				"Ratelimit-Policy": {`"rate_limit";q=2;w=60, "quota";q=3;w=2678400`},
				"Ratelimit":        {`"rate_limit";r=1;t=30, "quota";r=0;t=129600`},
			}, nil, "used00000000",
		},
		TooEarly: {refusal(request(tokens.good, func(r *Request) { r.Method, r.EarlyData = "POST", true })), 425, "",
			nil, nil, ""},
		BodyTooLarge: {
			refusal(request(tokens.good, func(r *Request) { r.Method, r.ContentLength = "POST", 1001 })), 413, "", nil,
			nil, "good00000000",
		},
		InvalidRequestBody: {Refuse(InvalidRequestBody), 400, "", nil, nil, ""},
		BodyTimeout:        {Refuse(BodyTimeout), 408, "", nil, nil, ""},
		Overloaded:         {Refuse(Overloaded), 503, "", http.Header{"Retry-After": {"5"}}, nil, ""},
		StoreUnavailable: {
			decide(g, &fakeStore{err: token.ErrDamaged}, request(tokens.good, nil)).Refusal, 503,
			"", http.Header{"Retry-After": {"5"}}, nil, "",
		},
		TooManyFailures: {
			decide(guarded, tokens, request(tokens.admin, nil)).Refusal, 429, "", http.Header{"Retry-After": {"60"}},
			nil, "admin0000000",
		},
		AccountNotConfigured: {decide(noAccount, tokens, request(tokens.good, nil)).Refusal, 502, "", nil, nil,
			"good00000000"},
		UpstreamCredential: {route.Judge(401, nil, nil, NewUpstreamToken("x")), 502, "", nil, nil, ""},
		BackendUnreachable: {Refuse(BackendUnreachable), 502, "", nil, nil, ""},
		BackendBrokeOff:    {Refuse(BackendBrokeOff), 502, "", nil, nil, ""},
		BackendIncomplete:  {Refuse(BackendIncomplete), 502, "", nil, nil, ""},
		BackendTimeout:     {Refuse(BackendTimeout), 504, "", nil, nil, ""},
		BackendRedirect:    {route.Judge(302, nil, []byte{}, NewUpstreamToken("x")), 400, "", nil, nil, ""},
		BackendError:       {route.Judge(405, nil, nil, NewUpstreamToken("x")), 405, "", nil, nil, ""},
	}
	if got, want := Codes(), slices.Sorted(maps.Keys(tests)); !slices.Equal(got, want) {
		t.Errorf("got codes\n%q, want\n%q", got, want)
	}
	for code, tt := range tests {
		t.Run(string(code), func(t *testing.T) {
			if tt.refusal.Code != code {
				t.Fatalf("got code %q, want %q", tt.refusal.Code, code)
			}
			recorder := httptest.NewRecorder()
			tt.refusal.SetHeaders("R", recorder.Header())
			if got := recorder.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("got Cache-Control %q, want no-store even if an error route writes the body", got)
			}
			problem.Write(recorder, tt.refusal.Problem())
			if recorder.Code != tt.status {
				t.Errorf("got status %d, want %d", recorder.Code, tt.status)
			}

			body := recorder.Body.String()
			for _, secret := range []string{tokens.good, tokens.reader, tokens.admin, tokens.expired, tokens.early,
				tokens.revoked, tokens.disabled, tokens.local, tokens.unknown, tokens.malformed} {
				if strings.Contains(body+fmt.Sprint(recorder.Header())+fmt.Sprintf("%+v", tt.refusal), secret) {
					t.Error("the refusal contains the token")
				}
			}
			var members map[string]any
			if err := json.Unmarshal([]byte(body), &members); err != nil {
				t.Fatalf("decoding the body %s: %v", body, err)
			}
			detail, _ := members["detail"].(string)
			title, _ := members["title"].(string)
			if detail == "" || title == "" {
				t.Errorf("got title %q, detail %q; want both", title, detail)
			}
			want := map[string]any{
				"type":  "https://github.com/mollygate/mollygate/blob/main/docs/errors.md#" + string(code),
				"title": title, "status": float64(tt.status), "detail": detail,
				"code": string(code), "success": false, "data": detail,
			}
			maps.Copy(want, tt.members)
			if tt.matched != "" {
				want["token_id"] = tt.matched
			}
			if !reflect.DeepEqual(members, want) {
				t.Errorf("got body %v, want %v", members, want)
			}

			wantHeader := http.Header{
				"Content-Type": {"application/problem+json"}, "Content-Length": {fmt.Sprint(len(body))},
				"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
			}
			maps.Copy(wantHeader, tt.headers)
			if tt.challenge != "" {
				wantHeader["Www-Authenticate"] = []string{strings.Replace(tt.challenge, "…", detail, 1)}
			}
			if tt.status == 401 {
				wantHeader["Vary"] = []string{"Authorization"}
			}
			if got := recorder.Header(); !reflect.DeepEqual(got, wantHeader) {
				t.Errorf("got headers %v, want %v", got, wantHeader)
			}
		})
	}
}

// Every 405 response has an Allow header, even an empty one (RFC 9110 section 15.5.6).
func TestEmptyAllow(t *testing.T) {
	g := newTestGate(t, nil)
	refusal := decide(g, &fakeStore{}, &Request{Method: "CONNECT", Path: ""}).Refusal
	h := make(http.Header)
	refusal.SetHeaders("R", h)
	if got, there := h["Allow"]; !there || !slices.Equal(got, []string{""}) {
		t.Errorf("got Allow %q, want one empty value", got)
	}
}

// RFC 6750 section 3 allows only some characters in error_description and scope.
func TestRefusalTexts(t *testing.T) {
	for code, rule := range rules {
		if rule.title == "" || rule.detail == "" || rule.status < 400 {
			t.Errorf("%s: the rule %+v is incomplete", code, rule)
		}
		if strings.ContainsFunc(rule.detail, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			t.Errorf("%s: the detail contains a character that error_description doesn't allow: %s", code, rule.detail)
		}
	}
}

// A refusal without a token has fewer members but is still complete.
func TestRefusalWithoutToken(t *testing.T) {
	for _, code := range Codes() {
		details := Refuse(code).Problem()
		if details.Code != string(code) || details.Detail == "" {
			t.Errorf("%s: the problem %+v is incomplete", code, details)
		}
	}
	if got := Refuse(IPDenied).Problem().Members; len(got) != 1 || got[0].Value != nil {
		t.Errorf("client on a unix socket: got members %v, want a null client_ip", got)
	}
}

func TestQuotedRealm(t *testing.T) {
	for realm, want := range map[string]string{
		"mollymawk": `Bearer realm="mollymawk"`,
		"":          `Bearer realm=""`,
		`a"b\c`:     `Bearer realm="a\"b\\c"`,
		"a\r\nX: b": `Bearer realm="aX: b"`,
	} {
		h := make(http.Header)
		Refuse(MissingToken).SetHeaders(realm, h)
		if got := h.Get("WWW-Authenticate"); got != want {
			t.Errorf("realm %q: got %s, want %s", realm, got, want)
		}
	}
}

func TestAppendQuoted(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": `""`, "a b": `"a b"`, `"a\b"`: `"\"a\\b\""`, "a\r\nb\x00\x7f": `"ab"`, "für": `"für"`, "\x00": `""`,
	} {
		if got := appendQuoted([]byte("x"), s); string(got) != "x"+want {
			t.Errorf("%q: got %s, want x%s", s, got, want)
		}
	}
}
