package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The tests check these invariants after every attack: no token reaches the backend; each
// request there has only the account's credential; every identity header was set by the gate;
// the backend sees the method and path that the gate allowed; the backend sees no more
// requests than the gate allowed; a refusal has the documented form (see checkResponses); no
// secret is returned or logged; and the counts are right. After running all tables, the tests
// check that Caddy leaves nothing behind.

// expectation is a request that the backend should see.
type expectation struct {
	sees string
	// token names the token that the request used, or is empty if it used none.
	token string
	// maybe reports whether the request may be missing.
	maybe bool
}

// checkSeen compares the requests that the backend saw with the verdicts, and returns the
// expected changes of the counts.
func (x *exchange) checkSeen(t *testing.T, want []verdict, victim string) map[string]uses {
	t.Helper()
	moved := make(map[string]uses)
	move := func(token string, by uses) {
		if token != "" {
			id := tokenID(x.tokens[token])
			moved[id] = uses{moved[id].allowed + by.allowed, moved[id].denied + by.denied}
		}
	}
	var expected []expectation
	for _, v := range want {
		sees := v.sees
		if sees == "" {
			sees = x.request.method + " " + x.request.target
		}
		switch v.outcome {
		case passes:
			move(v.token, uses{allowed: 1})
			expected = append(expected, expectation{sees: sees, token: v.token})
		case passesNowhere:
			move(v.token, uses{allowed: 1})
		case passesUntouched:
			expected = append(expected, expectation{sees: sees})
		case isRefused, isRefusedElsewhere:
			move(v.token, uses{denied: 1})
		case mayPass:
			// The count depends on when the request was cut off; the backend sees the
			// beginning of one request, or nothing.
			moved[tokenID(x.tokens[v.token])] = eitherWay
			expected = append(expected, expectation{sees: sees, token: v.token, maybe: true})
		case isDropped:
		}
	}
	if victim != "" {
		move("$V", uses{allowed: 1})
		expected = append(expected, expectation{sees: victim, token: "$V"})
	}
	x.checkExpected(t, expected)
	x.checkLegacy(t, expected)
	return moved
}

func (x *exchange) checkExpected(t *testing.T, expected []expectation) {
	t.Helper()
	left := x.seen
	for _, e := range expected {
		switch {
		case len(left) > 0 && left[0].String() == e.sees && e.token != "":
			x.checkIdentity(t, left[0], e.token)
		case len(left) > 0 && left[0].String() == e.sees:
			checkAnonymous(t, left[0])
		case e.maybe:
			continue
		default:
			t.Errorf("the backend saw %v, want %+v", x.seen, expected)
			return
		}
		left = left[1:]
	}
	if len(left) > 0 {
		t.Errorf("the backend saw %v; the gate didn't allow the last %d", x.seen, len(left))
	}
}

// checkLegacy checks the requests that the second backend saw. It must never get a credential,
// and may get an identity only for an allowed request.
func (x *exchange) checkLegacy(t *testing.T, expected []expectation) {
	t.Helper()
	for _, seen := range x.legacy.requests() {
		switch {
		case len(expected) == 0 && seen.target != authCheck: // sent by a handler before the gate
			checkAnonymous(t, seen)
		case len(seen.header["Authorization"]) > 0:
			t.Errorf("the second backend saw a credential in %s", seen)
		}
	}
}

// eitherWay counts one use, whether allowed or denied.
var eitherWay = uses{-1, -1}

// checkIdentity checks a request that the gate allowed with a token.
func (x *exchange) checkIdentity(t *testing.T, seen seenRequest, token string) {
	t.Helper()
	credential := []string{"Bearer " + x.upstream}
	account := "default"
	name := "test"
	switch token {
	case "$N":
		credential, account = nil, "bare"
	case "$S":
		credential, account = []string{"Bearer " + x.stale}, "stale"
	case "$W":
		name = "50%25 na%C3%AFve {env.UPSTREAM}"
	}
	if got := seen.header["Authorization"]; !slices.Equal(got, credential) {
		t.Errorf("%s reached the backend with %d Authorization headers, want only the account's credential", seen,
			len(got))
	}
	ours := map[string]string{"x-token-id": tokenID(x.tokens[token]), "x-token-name": name, "x-token-account": account}
	for header, values := range seen.header {
		folded := foldName(header)
		if !strings.HasPrefix(folded, "x-token-") {
			continue
		}
		if want, ok := ours[folded]; !ok || len(values) != 1 || values[0] != want {
			t.Errorf("the backend saw %s: %q, want %q", header, values, want)
		}
		delete(ours, folded)
	}
	for header := range ours {
		t.Errorf("the backend didn't see %s", header)
	}
	for _, header := range append([]string{"Cookie", "Proxy-Authorization", "Expect", "Trailer", "Http2-Settings"},
		foreign...) {
		if values, ok := seen.header[header]; ok {
			t.Errorf("the backend saw %s: %q", header, values)
		}
	}
	// Caddy's proxy itself asks for gzip and decodes it.
	if got := seen.header.Get("Accept-Encoding"); got != "" && got != "gzip" {
		t.Errorf("the backend saw Accept-Encoding: %q", got)
	}
	checkClean(t, seen)
	if path, _, _ := strings.Cut(seen.target, "?"); !plainPath(path) {
		t.Errorf("the backend saw the path %q", path)
	}
}

// checkAnonymous checks a request that passed through the gate without a token.
func checkAnonymous(t *testing.T, seen seenRequest) {
	t.Helper()
	if got := seen.header["Authorization"]; len(got) != 0 {
		t.Errorf("%s reached the backend with a credential", seen)
	}
	for header, values := range seen.header {
		if strings.HasPrefix(foldName(header), "x-token-") {
			t.Errorf("the backend saw %s: %q", header, values)
		}
	}
	checkClean(t, seen)
}

// checkClean checks that a request lacks headers that must never reach the backend.
func checkClean(t *testing.T, seen seenRequest) {
	t.Helper()
	for header, values := range seen.header {
		switch folded := foldName(header); {
		case folded == "x-http-method-override", folded == "x-http-method", folded == "x-method-override",
			folded == "x-original-url",
			folded == "x-rewrite-url", folded == "x-original-method", folded == "x-forwarded-method",
			folded == "x-forwarded-uri",
			folded == "x-middleware-subrequest":
			t.Errorf("the backend saw %s: %q", header, values)
		case folded == "upgrade" && !slices.Equal(values, []string{"websocket"}):
			t.Errorf("the backend saw %s: %q", header, values)
		}
	}
	for name, values := range seen.trailer {
		t.Errorf("the backend saw the trailer %s: %q", name, values)
	}
}

// foldName returns the same string for all forms of a header name that backends treat as
// equivalent.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
}

// plainPath reports whether an escaped path can be interpreted in only one way. Without using
// the code under test, it checks that removing dot segments (RFC 3986 section 5.2.4) changes
// nothing and that only non-ASCII bytes are escaped.
func plainPath(escaped string) bool {
	path, err := url.PathUnescape(escaped)
	for _, escape := range strings.Split(escaped, "%")[1:] {
		if escape < "8" || escape[:2] != strings.ToUpper(escape[:2]) {
			return false
		}
	}
	return err == nil && strings.HasPrefix(path, "/") && path == (&url.URL{Path: "/"}).JoinPath(path).Path &&
		!strings.ContainsAny(path, "\\;\x00")
}

// checkCounts compares the actual changes of the counts with the expected ones.
func checkCounts(t *testing.T, before, after map[string]uses, moved map[string]uses) {
	t.Helper()
	for id, now := range after {
		got := uses{now.allowed - before[id].allowed, now.denied - before[id].denied}
		want := moved[id]
		if want == eitherWay && got.allowed+got.denied <= 1 {
			continue
		}
		if got != want {
			t.Errorf("the counts of token %s changed by %+v, want %+v", id, got, want)
		}
	}
}

// checkSecrets looks for secrets in the responses, in the log and in the backends' input.
func (x *exchange) checkSecrets(t *testing.T, input string) {
	t.Helper()
	var told strings.Builder
	for _, response := range x.responses {
		told.WriteString(response.text())
	}
	for name, token := range x.tokens {
		if !x.sentInBody(token) {
			checkNoSecret(t, "the backend's input ("+name+")", input, token)
			checkNoSecret(t, "the second backend's input ("+name+")", x.legacy.input(), token)
		}
	}
	for _, secret := range x.secrets() {
		checkNoSecret(t, "the response", told.String(), secret)
	}
	x.checkLog(t, x.log)
}

// noNote adds nothing to a timeout message.
type noNote struct{}

func (noNote) String() string { return "" }

// sentInBody reports whether the client itself put the token into the body, which only the
// backend reads.
func (x *exchange) sentInBody(token string) bool { return strings.Contains(x.request.body, token) }

// checkLog looks for secrets in part of the log and reports the lines that contain any, with
// the secrets redacted.
func (a *testbed) checkLog(t *testing.T, log string) {
	t.Helper()
	log = withoutCaddysOwn(log)
	for _, secret := range a.secrets() {
		if !strings.Contains(log, secret) {
			checkNoSecret(t, "the log", log, secret)
			continue
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) && !a.shown[line] {
				a.shown[line] = true
				t.Errorf("the log contains a secret: %s", strings.ReplaceAll(line, secret, "(SECRET)"))
			}
		}
	}
}

// withoutCaddysOwn removes debug lines that Caddy itself logs and Mollygate can't change. They
// contain the URL before a handler in front of the gate rewrites it, and the response headers
// of a backend that echoes the credential.
func withoutCaddysOwn(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		echoed := strings.Contains(line, `"upstream roundtrip"`) && strings.Contains(line, "?answer=")
		if rewritten := strings.Contains(line, `"rewrote request"`); !echoed && !rewritten {
			b.WriteString(line)
		}
	}
	return b.String()
}

// bearerLine returns an Authorization header line.
func bearerLine(token string) string { return "Authorization: Bearer " + token }

// by returns the header lines of a request with a token, followed by the given lines.
func by(token string, lines ...string) []string { return append([]string{bearerLine(token)}, lines...) }

// get returns a GET request with the given header lines.
func get(target string, header ...string) wireRequest {
	return wireRequest{method: http.MethodGet, target: target, header: header}
}
