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

// attack is a test case: a request and its permitted outcomes. It runs over every protocol
// that can express it.
type attack struct {
	// name describes what is special about the request.
	name string
	wireRequest
	// over lists the protocols. The default is all protocols, or only HTTP/1 if the request is
	// raw bytes or has a header line that only HTTP/1 permits.
	over []string
	// want contains one verdict per response.
	want []verdict
	// otherwise replaces want for some protocols. "h2" includes h2c.
	otherwise map[string][]verdict
	// aliases sends the request to the port that admits header names with "_" and ".".
	aliases bool
	// then runs additional checks.
	then func(t *testing.T, x *exchange)
}

// exchange is an attack that has been run, with its results.
type exchange struct {
	*testbed
	wire      wire
	request   wireRequest
	responses []wireResponse
	// seen holds the requests that the backend saw.
	seen []seenRequest
	// log contains what Caddy has logged since mark.
	log  string
	mark int
}

// outcome identifies who responds to a request.
type outcome int

const (
	// The gate allows the request with a token.
	passes outcome = iota
	// The gate allows the request with a token, but the request doesn't reach a backend.
	passesNowhere
	// The gate passes the request through without a token.
	passesUntouched
	// The gate refuses the request.
	isRefused
	// The gate refuses the request, and Caddy's error routes respond.
	isRefusedElsewhere
	// Go or Caddy rejects the request before it reaches the gate, or no site matches.
	isDropped
	// The gate may allow or refuse the request, which is harmless either way because it is cut
	// off after the decision.
	mayPass
)

// verdict is a request's permitted outcome.
type verdict struct {
	outcome outcome
	// status lists the permitted status codes, where 0 means no response.
	status []int
	code   string
	// token names the token whose counts change.
	token string
	// sees is the method and target that the backend should see. By default, these are the
	// ones that the client sent.
	sees string
}

// passed wants the gate to allow the request with a token.
func passed(token string) []verdict {
	return []verdict{{outcome: passes, status: []int{200}, token: token}}
}

// passedAs wants the gate to allow the request, and the backend to see the given method and
// target.
func passedAs(token, sees string) []verdict {
	return []verdict{{outcome: passes, status: []int{200}, token: token, sees: sees}}
}

// answered wants the gate to allow the request and the response to have the given status. With
// a code, the gate must replace the backend's response.
func answered(token string, status int, code string) []verdict {
	return []verdict{{outcome: passes, status: []int{status}, code: code, token: token}}
}

// answeredByNobody wants the gate to allow the request, but no backend to receive it.
func answeredByNobody(token string, status int, code string) []verdict {
	return []verdict{{outcome: passesNowhere, status: []int{status}, code: code, token: token}}
}

// untouched wants the request to pass through without a token, and the backend to respond with
// one of the given status codes.
func untouched(status ...int) []verdict {
	return []verdict{{outcome: passesUntouched, status: status}}
}

// refused wants the gate to refuse the request. token names the token if its secret is right.
func refused(status int, code string, token ...string) []verdict {
	return []verdict{{outcome: isRefused, status: []int{status}, code: code, token: strings.Join(token, "")}}
}

// refusedElsewhere wants the gate to refuse the request, and Caddy's error routes to respond.
func refusedElsewhere(status int, token ...string) []verdict {
	return []verdict{{outcome: isRefusedElsewhere, status: []int{status}, token: strings.Join(token, "")}}
}

// dropped wants the request not to reach the gate.
func dropped(status ...int) []verdict { return []verdict{{outcome: isDropped, status: status}} }

// broken wants the request to be cut off without doing any harm.
func broken(token string, status ...int) []verdict {
	return []verdict{{outcome: mayPass, status: status, token: token}}
}

// runs reports whether a protocol can express the attack.
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
		return name == "h1" // these headers are malformed in HTTP/2 and HTTP/3
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

// withDefaults fills in what a table entry omits.
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

// run tries a table's attacks one by one, over each protocol in turn, and checks the
// invariants after each attack.
func (a *testbed) run(t *testing.T, wires []wire, attacks []attack) {
	t.Helper()
	a.counted = a.counts()
	for _, k := range attacks {
		k := k.withDefaults()
		t.Run(k.name, func(t *testing.T) {
			for _, w := range wires {
				if k.runs(w) {
					t.Run(w.String(), func(t *testing.T) { a.attack(t, w, k) })
				}
			}
		})
	}
}

func (a *testbed) attack(t *testing.T, w wire, k attack) {
	t.Helper()
	backend := a.backendOf(k.host)
	backend.forget()
	a.legacy.forget()
	mark := a.logMark()
	want := k.wants(w)
	if k.aliases {
		w = a.onAliases(w)
	}
	x := &exchange{testbed: a, wire: w, request: k.expand(a.names.Replace), mark: mark}
	x.responses = w.exchange(x.request, len(want))
	if slices.ContainsFunc(want, func(v verdict) bool { return v.outcome == mayPass }) {
		a.plain.waitUntilIdle(t)
	}
	victim := ""
	if testbedSites[k.host].victims {
		victim = a.victim(t, k.host)
	}
	x.seen = backend.requests()
	before := a.counted
	a.counted = a.counts()
	x.log = a.logSince(mark)

	x.checkResponses(t, want)
	moved := x.checkSeen(t, want, victim)
	checkCounts(t, before, a.counted, moved)
	x.checkSecrets(t, backend.input())
	if k.then != nil {
		k.then(t, x)
	}
}

func (a *testbed) backendOf(host string) recordingBackend {
	if _, molly := testbedSites[host]; molly && !testbedSites[host].plain {
		return a.mollymawk
	}
	return a.plain
}

func (a *testbed) onAliases(w wire) wire {
	address := "127.0.0.1:" + a.env["ALIASES"]
	if w.String() == "h1" {
		return h1{address}
	}
	return h2{address: address}
}

// victim makes a call as another client, over the backend connection that the attack used. The
// response must belong to that call. victim returns the request that the backend should see.
func (a *testbed) victim(t *testing.T, host string) string {
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
		t.Fatalf("the next client got error %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if want := "seen " + path + "\n"; err != nil || response.StatusCode != http.StatusOK || string(body) != want {
		t.Errorf("the next client got status %d, %q, want %q: %v", response.StatusCode, body, want, err)
	}
	return "GET " + path
}

// checkResponses compares the responses with the verdicts.
func (x *exchange) checkResponses(t *testing.T, want []verdict) {
	t.Helper()
	for i, v := range want {
		if i >= len(x.responses) {
			if !slices.Contains(v.status, 0) {
				t.Errorf("response %d is missing, want status %v", i+1, v.status)
			}
			continue
		}
		response := x.responses[i]
		if v.outcome != passesUntouched {
			checkNoCookie(t, response)
		}
		if !slices.Contains(v.status, response.status) {
			t.Errorf("response %d has status %d (%v), want %v: %s", i+1, response.status, response.err, v.status,
				shortened(response.body))
			continue
		}
		switch {
		case v.outcome == isRefused:
			x.checkProblem(t, response, v.code)
			x.checkRefusal(t, response)
		case v.outcome == isRefusedElsewhere && v.code != "":
			x.checkRefusal(t, response)
		case v.code != "" && response.header.Get("Content-Encoding") == "":
			x.checkProblem(t, response, v.code)
		case v.outcome == passes && response.status == http.StatusOK && response.header.Get("Api-Key-Expires") == "":
			t.Errorf("the response lacks Api-Key-Expires")
		}
	}
}

// checkNoCookie checks that a response, including its trailers and interim responses, doesn't
// set cookies.
func checkNoCookie(t *testing.T, response wireResponse) {
	t.Helper()
	for _, part := range append(response.interim, response) {
		for _, header := range []http.Header{part.header, part.trailer} {
			for name, values := range header {
				// a backend may announce a trailer without sending it
				if len(values) > 0 && strings.HasPrefix(foldName(name), "set-cookie") {
					t.Errorf("the client got %s: %q with status %d", name, values, part.status)
				}
			}
		}
	}
}

// shortened truncates a body so that it fits in a failure message.
func shortened(body string) string { return body[:min(len(body), 300)] }

// checkRefusal checks that a refusal's headers match docs/errors.md, whichever handler writes
// its body.
func (x *exchange) checkRefusal(t *testing.T, response wireResponse) {
	t.Helper()
	if got := response.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
	challenge := response.header.Get("WWW-Authenticate")
	if response.status == http.StatusUnauthorized {
		if !strings.HasPrefix(challenge, `Bearer realm="`) {
			t.Errorf("got WWW-Authenticate: %q", challenge)
		}
		if got := response.header.Get("Vary"); got != "Authorization" {
			t.Errorf("Vary is %q, want Authorization", got)
		}
	}
	if _, ok := response.header["Allow"]; ok != (response.status == http.StatusMethodNotAllowed) {
		t.Errorf("Allow is %q with status %d", response.header.Get("Allow"), response.status)
	}
	closes := strings.EqualFold(response.header.Get("Connection"), "close")
	if closes && !response.closed {
		t.Errorf("the connection is still open after Connection: close")
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

func (x *exchange) checkProblem(t *testing.T, response wireResponse, code string) {
	t.Helper()
	if x.request.method == http.MethodHead && x.request.raw == "" {
		return // the response has no body
	}
	var problem struct {
		Code    string
		Status  int
		Success *bool
	}
	if err := json.Unmarshal([]byte(response.body), &problem); err != nil {
		t.Errorf("got body %q, error %v", shortened(response.body), err)
		return
	}
	if problem.Code != code || problem.Status != response.status || problem.Success == nil || *problem.Success {
		t.Errorf("got body %+v, want code %s", problem, code)
	}
	if got := response.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("got Content-Type %q", got)
	}
}
