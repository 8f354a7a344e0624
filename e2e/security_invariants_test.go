package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The invariants that hold after every attack are numbered as in the list of
// security cases: I1 no token reaches the backend, I2 each request there has the
// account's credential and no other, I3 each identity header is the gate's, I4 the
// backend sees the method and the path that were allowed, I5 no request more than
// was allowed, I6 a refusal is one, I7 no secret is told or logged, I8 nothing is
// left behind, I9 the counts are right. I6 is checkAnswers; I8 is checked once, at
// the end of all tables.

// expectation is a request that the backend should see.
type expectation struct {
	sees string
	// token is whose authority it has; empty for none.
	token string
	// maybe it doesn't.
	maybe bool
}

// checkSeen holds what the backend saw against the verdicts (I2 to I5), and
// returns by how much the counts must have moved.
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
			// Counted as what it was when it was decided about; the backend sees the
			// beginning of one request, or none.
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
		t.Errorf("the backend saw %v, of which nobody was allowed the last %d", x.seen, len(left))
	}
}

// checkLegacy checks what another backend saw, which gets no credential, and an
// identity only of a request that has passed.
func (x *exchange) checkLegacy(t *testing.T, expected []expectation) {
	t.Helper()
	for _, seen := range x.legacy.requests() {
		switch {
		case len(expected) == 0 && seen.target != authCheck: // which the gate hasn't seen yet
			checkAnonymous(t, seen)
		case len(seen.header["Authorization"]) > 0:
			t.Errorf("another backend saw a credential in %s", seen)
		}
	}
}

// eitherWay is one use, allowed or denied.
var eitherWay = uses{-1, -1}

// checkIdentity checks a request that passed with a token.
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
		t.Errorf("%s reached the backend with %d Authorization headers, or not with the account's credential", seen,
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
	if got := seen.header.Get("Accept-Encoding"); got != "" && got != "gzip" { // which Caddy's proxy decodes itself
		t.Errorf("the backend saw Accept-Encoding: %q", got)
	}
	checkClean(t, seen)
	if path, _, _ := strings.Cut(seen.target, "?"); !plainPath(path) {
		t.Errorf("the backend saw the path %q", path)
	}
}

// checkAnonymous checks a request that passed without a token.
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

// checkClean checks what no request may bring to the backend.
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

// foldName folds the spellings of a header's name that backends take for the
// same.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
}

// plainPath says whether an escaped path has one reading only, which is decided
// here without the code under test: removing dot segments (RFC 3986 section 5.2.4)
// changes nothing, and there are no escapes but those of what isn't ASCII.
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

// checkCounts holds by how much the counts have moved against by how much they
// should have (I9).
func checkCounts(t *testing.T, before, after map[string]uses, moved map[string]uses) {
	t.Helper()
	for id, now := range after {
		got := uses{now.allowed - before[id].allowed, now.denied - before[id].denied}
		want := moved[id]
		if want == eitherWay && got.allowed+got.denied <= 1 {
			continue
		}
		if got != want {
			t.Errorf("the counts of token %s moved by %+v, want %+v", id, got, want)
		}
	}
}

// checkSecrets looks for secrets in what the client was told, what was logged and
// what the backend received (I1, I7).
func (x *exchange) checkSecrets(t *testing.T, input string) {
	t.Helper()
	var told strings.Builder
	for _, answer := range x.answers {
		told.WriteString(answer.text())
	}
	for name, token := range x.tokens {
		if !x.sentInBody(token) {
			checkNoSecret(t, "the backend's input ("+name+")", input, token)
			checkNoSecret(t, "the other backend's input ("+name+")", x.legacy.input(), token)
		}
	}
	for _, secret := range x.secrets() {
		checkNoSecret(t, "the answer", told.String(), secret)
	}
	x.checkLog(t, x.log)
}

// noNote is nothing to add to why a test waited in vain.
type noNote struct{}

func (noNote) String() string { return "" }

// sentInBody says whether the client itself has put a token into the body, which
// is the backend's alone.
func (x *exchange) sentInBody(token string) bool { return strings.Contains(x.request.body, token) }

// checkLog looks for secrets in a part of the log and shows the line without them.
func (a *arena) checkLog(t *testing.T, log string) {
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
				t.Errorf("the log holds a secret: %s", strings.ReplaceAll(line, secret, "(SECRET)"))
			}
		}
	}
}

// withoutCaddysOwn leaves out what Caddy itself logs for debugging and is out of
// the gate's reach: the URL that a handler before the gate has rewritten, and the
// header of a backend that repeats the credential there.
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

// bearerLine is a line of a request's header.
func bearerLine(token string) string { return "Authorization: Bearer " + token }

// by is the header of a request with a token and nothing else.
func by(token string, lines ...string) []string { return append([]string{bearerLine(token)}, lines...) }

// get is a request for a path with these header lines.
func get(target string, header ...string) wireRequest {
	return wireRequest{method: http.MethodGet, target: target, header: header}
}
