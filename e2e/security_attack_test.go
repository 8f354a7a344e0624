package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// attack is a case: a request, and what may come of it. It runs over every
// protocol that can express it.
type attack struct {
	// id is that of the case and what is special about this form of it.
	id string
	wireRequest
	// over are the protocols, by name; by default all, or HTTP/1 if the request is
	// raw bytes or has a line that only HTTP/1 has.
	over []string
	// want is a verdict for each answer.
	want []verdict
	// otherwise is what is wanted over some protocols instead. "h2" counts for h2c.
	otherwise map[string][]verdict
	// aliases sends it to the port where names with "_" and "." are let in.
	aliases bool
	// then checks what else there is to the case.
	then func(t *testing.T, x *exchange)
}

// exchange is an attack that has taken place.
type exchange struct {
	*arena
	wire    wire
	request wireRequest
	answers []wireAnswer
	// seen are the requests that the backend saw.
	seen []seenRequest
	// log is what has been logged meanwhile, from mark on.
	log  string
	mark int
}

// outcome says who answers a request.
type outcome int

const (
	// passes the gate with a token.
	passes outcome = iota
	// passesNowhere passes with a token and comes to no backend.
	passesNowhere
	// passesUntouched goes to the backend without.
	passesUntouched
	// isRefused by the gate.
	isRefused
	// isRefusedElsewhere by the gate, with an answer by Caddy's error routes.
	isRefusedElsewhere
	// isDropped by Go or by Caddy before it comes to the gate, or there is no site.
	isDropped
	// mayPass either way, if only it does no harm: the request is broken after it
	// was decided about.
	mayPass
)

// verdict is what may come of a request.
type verdict struct {
	outcome outcome
	// status are those that the answer may have. 0 is none at all.
	status []int
	code   string
	// token names the one whose counts move.
	token string
	// sees is what the backend sees as method and target; by default, those sent.
	sees string
}

// passed wants the request to pass with a token's authority.
func passed(token string) []verdict {
	return []verdict{{outcome: passes, status: []int{200}, token: token}}
}

// passedAs wants it to pass, and to reach the backend in this spelling.
func passedAs(token, sees string) []verdict {
	return []verdict{{outcome: passes, status: []int{200}, token: token, sees: sees}}
}

// answered wants it to pass, and this status from the backend or, with a code, in
// place of its answer.
func answered(token string, status int, code string) []verdict {
	return []verdict{{outcome: passes, status: []int{status}, code: code, token: token}}
}

// answeredByNobody wants it to pass, and to come to no backend.
func answeredByNobody(token string, status int, code string) []verdict {
	return []verdict{{outcome: passesNowhere, status: []int{status}, code: code, token: token}}
}

// untouched wants it to pass without a token, and this status from the backend.
func untouched(status ...int) []verdict {
	return []verdict{{outcome: passesUntouched, status: status}}
}

// refused wants the gate to refuse it; the token is named if its secret is right.
func refused(status int, code string, token ...string) []verdict {
	return []verdict{{outcome: isRefused, status: []int{status}, code: code, token: strings.Join(token, "")}}
}

// refusedElsewhere wants the gate to leave the answer to Caddy's error routes.
func refusedElsewhere(status int, token ...string) []verdict {
	return []verdict{{outcome: isRefusedElsewhere, status: []int{status}, token: strings.Join(token, "")}}
}

// dropped wants it never to come to the gate.
func dropped(status ...int) []verdict { return []verdict{{outcome: isDropped, status: status}} }

// broken wants no harm.
func broken(token string, status ...int) []verdict {
	return []verdict{{outcome: mayPass, status: status, token: token}}
}

// runs says whether the attack can be expressed over a protocol.
func (k *attack) runs(w wire) bool {
	name := w.String()
	switch {
	case k.over != nil:
		return slices.Contains(k.over, name)
	case k.aliases:
		return name == "h1" || name == "h2c"
	case k.raw != "":
		return name == "h1"
	case k.pseudo != nil:
		return name != "h1"
	case k.hasHeader("Connection"), k.hasHeader("Transfer-Encoding"), k.hasHeader("Upgrade"), k.hasHeader("Host"):
		return name == "h1" // elsewhere malformed, see HOP-07
	}
	return true
}

func (k *attack) wants(w wire) []verdict {
	name := w.String()
	if want, ok := k.otherwise[name]; ok {
		return want
	}
	if want, ok := k.otherwise[strings.TrimSuffix(name, "c")]; ok {
		return want
	}
	return k.want
}

// withDefaults fills in what a line of a table leaves out.
func (k attack) withDefaults() attack {
	if k.host == "" {
		k.host = gatedHost
	}
	if k.method == "" {
		k.method = http.MethodGet
	}
	if k.target == "" {
		k.target = "/plain/read"
	}
	return k
}

// run makes the attacks of a table one by one, over each protocol in turn, and
// checks the invariants after each.
func (a *arena) run(t *testing.T, wires []wire, attacks []attack) {
	t.Helper()
	a.counted = a.counts()
	for _, k := range attacks {
		k := k.withDefaults()
		t.Run(k.id, func(t *testing.T) {
			for _, w := range wires {
				if k.runs(w) {
					t.Run(w.String(), func(t *testing.T) { a.attack(t, w, k) })
				}
			}
		})
	}
}

func (a *arena) attack(t *testing.T, w wire, k attack) {
	t.Helper()
	backend := a.backendOf(k.host)
	backend.forget()
	a.legacy.forget()
	mark := a.logMark()
	want := k.wants(w)
	if k.aliases {
		w = a.onAliases(w)
	}
	x := &exchange{arena: a, wire: w, request: k.expand(a.names.Replace), mark: mark}
	x.answers = w.exchange(x.request, len(want))
	if slices.ContainsFunc(want, func(v verdict) bool { return v.outcome == mayPass }) {
		a.plain.settle(t)
	}
	victim := ""
	if arenaSites[k.host].victims {
		victim = a.victim(t, k.host)
	}
	x.seen = backend.requests()
	before := a.counted
	a.counted = a.counts()
	x.log = a.logSince(mark)

	x.checkAnswers(t, want)
	moved := x.checkSeen(t, want, victim)
	checkCounts(t, before, a.counted, moved)
	x.checkSecrets(t, backend.input())
	if k.then != nil {
		k.then(t, x)
	}
}

func (a *arena) backendOf(host string) recordingBackend {
	if _, molly := arenaSites[host]; molly && !arenaSites[host].plain {
		return a.mollymawk
	}
	return a.plain
}

func (a *arena) onAliases(w wire) wire {
	address := "127.0.0.1:" + a.env["ALIASES"]
	if w.String() == "h1" {
		return h1{address}
	}
	return h2{address: address}
}

// victim makes a call of somebody else, on the connection to the backend that the
// attack has used. Its answer must be its own. It returns what the backend sees.
func (a *arena) victim(t *testing.T, host string) string {
	t.Helper()
	a.victims++
	prefix := ""
	if host == pathHost || host == prefixHost {
		prefix = "/v1"
	}
	path := fmt.Sprintf("/plain/read?victim=%d", a.victims)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url(prefix+path), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Authorization", "Bearer "+a.tokens["$V"])
	response, err := a.client.Do(request)
	if err != nil {
		t.Fatalf("the next client: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if want := "seen " + path + "\n"; err != nil || response.StatusCode != http.StatusOK || string(body) != want {
		t.Errorf("the next client got status %d, %q, want %q: %v", response.StatusCode, body, want, err)
	}
	return "GET " + path
}

// checkAnswers holds the answers against the verdicts (I6).
func (x *exchange) checkAnswers(t *testing.T, want []verdict) {
	t.Helper()
	for i, v := range want {
		if i >= len(x.answers) {
			if !slices.Contains(v.status, 0) {
				t.Errorf("answer %d is missing, want status %v", i+1, v.status)
			}
			continue
		}
		answer := x.answers[i]
		if v.outcome != passesUntouched {
			checkNoCookie(t, answer)
		}
		if !slices.Contains(v.status, answer.status) {
			t.Errorf("answer %d has status %d (%v), want %v: %s", i+1, answer.status, answer.err, v.status,
				shortened(answer.body))
			continue
		}
		switch {
		case v.outcome == isRefused:
			x.checkProblem(t, answer, v.code)
			x.checkRefusal(t, answer)
		case v.outcome == isRefusedElsewhere && v.code != "":
			x.checkRefusal(t, answer)
		case v.code != "" && answer.header.Get("Content-Encoding") == "":
			x.checkProblem(t, answer, v.code)
		case v.outcome == passes && answer.status == http.StatusOK && answer.header.Get("Api-Key-Expires") == "":
			t.Errorf("the answer doesn't say when the token expires")
		}
	}
}

// checkNoCookie checks that an answer, its trailers and interim answers included, sets
// no cookie.
func checkNoCookie(t *testing.T, answer wireAnswer) {
	t.Helper()
	for _, part := range append(answer.interim, answer) {
		for _, header := range []http.Header{part.header, part.trailer} {
			for name, values := range header {
				// one can be announced and not sent
				if len(values) > 0 && strings.HasPrefix(foldName(name), "set-cookie") {
					t.Errorf("the client got %s: %q with status %d", name, values, part.status)
				}
			}
		}
	}
}

// shortened cuts a body for a message.
func shortened(body string) string { return body[:min(len(body), 300)] }

// checkRefusal holds the headers of a refusal to what docs/errors.md says, whoever
// writes its body.
func (x *exchange) checkRefusal(t *testing.T, answer wireAnswer) {
	t.Helper()
	if got := answer.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	challenge := answer.header.Get("WWW-Authenticate")
	if answer.status == http.StatusUnauthorized {
		if !strings.HasPrefix(challenge, `Bearer realm="`) {
			t.Errorf("WWW-Authenticate is %q", challenge)
		}
		if got := answer.header.Get("Vary"); got != "Authorization" {
			t.Errorf("Vary is %q", got)
		}
	}
	if _, ok := answer.header["Allow"]; ok != (answer.status == http.StatusMethodNotAllowed) {
		t.Errorf("Allow is %q with status %d", answer.header.Get("Allow"), answer.status)
	}
	closes := strings.EqualFold(answer.header.Get("Connection"), "close")
	if closes && !answer.closed {
		t.Errorf("the connection was to be closed and is open")
	}
	if x.wire.String() == "h1" && x.request.raw == "" {
		if want := x.request.announces() || x.request.asksToClose() ||
			x.request.method == http.MethodConnect; closes != want {
			t.Errorf("the refusal closes the connection: %t, want %t", closes, want)
		}
	}
}

func (r wireRequest) asksToClose() bool {
	return slices.ContainsFunc(r.header, func(line string) bool {
		name, value, _ := strings.Cut(line, ":")
		return strings.EqualFold(name, "Connection") && strings.Contains(strings.ToLower(value), "close")
	})
}

func (x *exchange) checkProblem(t *testing.T, answer wireAnswer, code string) {
	t.Helper()
	if x.request.method == http.MethodHead && x.request.raw == "" {
		return // there is no body
	}
	var problem struct {
		Code    string
		Status  int
		Success *bool
	}
	if err := json.Unmarshal([]byte(answer.body), &problem); err != nil {
		t.Errorf("the body is %q: %v", shortened(answer.body), err)
		return
	}
	if problem.Code != code || problem.Status != answer.status || problem.Success == nil || *problem.Success {
		t.Errorf("the body says %+v, want code %s", problem, code)
	}
	if got := answer.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
}
