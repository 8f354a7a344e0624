package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// adminAttack is a call of the admin API that must not be answered, or not with
// more than this.
type adminAttack struct {
	id string
	wireRequest
	status []int
	// code is the refusal's, if it is one of the admin API's.
	code string
	// logged says that Caddy's own log shows the URL, which is out of our reach.
	logged bool
}

const (
	keysHost = "keys.test"
	// Sites whose admin API trusts the users of an authenticator before it.
	trustHost, trustGateHost, trustNobodyHost = "trust.test", "trust-gate.test", "trust-nobody.test"
	jsonType                                  = "Content-Type: application/json"
	newToken                                  = `{"name":"made","expires_in":"1d","scopes":["plain:read"]}`
)

func adminConfig() string {
	const basic = "basic_auth {\nadmin " + hash + "\nguest " + hash + "\n}\n"
	return arenaHead +
		arenaBlock(gatedHost, gateBlock(routeLines)+proxy) +
		arenaBlock(gatedMollyHost, gateBlock("routes mollymawk")+"import mollymawk") +
		arenaBlock(keysHost, "log_append sent {http.request.header.Authorization}\napi_tokens_admin") +
		arenaBlock(trustHost, "route {\n"+basic+"api_tokens_admin {\ntrust_user admin\n}\n}") +
		arenaBlock(trustNobodyHost, "api_tokens_admin {\ntrust_user\n}") +
		arenaBlock(trustGateHost,
			"route {\n"+gateBlock("route GET /api/v1/tokens plain:read\nroute POST /api/v1/tokens plain:write\n")+
				"api_tokens_admin {\ntrust_user\n}\n}")
}

// calling is a call of the admin API of a site.
func calling(host, method, path, body string, header ...string) wireRequest {
	return wireRequest{host: host, method: method, target: path, header: header, body: body}
}

const tokensURL = "/api/v1/tokens"

// siteAttacks are calls of the admin API on a site: security cases, section 1.12.
var siteAttacks = []adminAttack{
	{id: "ADM-17 no credential", wireRequest: calling(keysHost, "GET", tokensURL, ""), status: []int{401},
		code: "missing_token"},
	{id: "ADM-17 no credential, new", wireRequest: calling(keysHost, "POST", tokensURL, newToken, jsonType),
		status: []int{401}, code: "missing_token"},
	{id: "ADM-17 no credential, health", wireRequest: calling(keysHost, "GET", "/api/v1/healthz", ""),
		status: []int{401}, code: "missing_token"},
	{id: "ADM-17 no credential, unknown path", wireRequest: calling(keysHost, "GET", "/api/v1/nothing", ""),
		status: []int{401}, code: "missing_token"},
	{id: "ADM-17 trust without an authenticator", wireRequest: calling(trustNobodyHost, "GET", tokensURL, ""),
		status: []int{401}, code: "missing_token"},
	{id: "ADM-17 trust, user in headers", wireRequest: calling(trustNobodyHost, "GET", tokensURL, "",
		"X-Token-Id: admin", "Remote-User: admin", "X-Remote-User: admin"), status: []int{401}, code: "missing_token"},
	{id: "ADM-17 trust, wrong password", wireRequest: calling(trustHost, "GET", tokensURL, "",
		"Authorization: Basic YWRtaW46d3Jvbmc="), status: []int{401}},
	{id: "ADM-17 trust, another user", wireRequest: calling(trustHost, "GET", tokensURL, "",
		"Authorization: Basic Z3Vlc3Q6c2VjcmV0"), status: []int{401}, code: "missing_token"},
	{id: "ADM-17 trust, no password", wireRequest: calling(trustHost, "GET", tokensURL, ""), status: []int{401}},
	{id: "ADM-18 API token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$A")...), status: []int{403},
		code: "wrong_kind"},
	{id: "ADM-18 API token, new", wireRequest: calling(keysHost, "POST", tokensURL, newToken, by("$A", jsonType)...),
		status: []int{403}, code: "wrong_kind"},
	{id: "ADM-18 unknown token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$U")...), status: []int{401},
		code: "unknown_token"},
	{id: "ADM-18 two credentials", wireRequest: calling(keysHost, "GET", tokensURL, "", bearerLine("$M"),
		bearerLine("$A")), status: []int{400}, code: "invalid_request"},
	{id: "ADM-18 credential in a cookie", wireRequest: calling(keysHost, "GET", tokensURL, "",
		"Cookie: token=$M; session=$M"), status: []int{401}, code: "missing_token"},
	{id: "ADM-18 backend's token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$B")...),
		status: []int{401}, code: "unknown_token"},
	{id: "ADM-18 credential named in Connection", wireRequest: calling(keysHost, "GET", tokensURL, "",
		by("$A", "Connection: Authorization")...), status: []int{400, 403}},
	{id: "ADM-18 token that passed a gate", wireRequest: calling(trustGateHost, "GET", tokensURL, "", by("$N")...),
		status: []int{401}, code: "missing_token"},
	{id: "ADM-18 token that passed a gate, with a credential", wireRequest: calling(trustGateHost, "GET", tokensURL, "",
		by("$A")...), status: []int{401, 502}},
	{id: "ADM-18 token that passed a gate, new", wireRequest: calling(trustGateHost, "POST", tokensURL, newToken,
		by("$N", jsonType)...), status: []int{401}, code: "missing_token"},
	{id: "ADM-18 admin token at a gate", wireRequest: calling(trustGateHost, "GET", tokensURL, "", by("$M")...),
		status: []int{403}, code: "wrong_kind"},
	{id: "ADM-20 other origin", wireRequest: calling(keysHost, "GET", tokensURL+"?limit=1", "",
		by("$M", "Origin: https://evil.example")...), status: []int{200}},
	{id: "ADM-20 other origin, new", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Origin: https://evil.example")...), status: []int{403}, code: "cross_site"},
	{id: "ADM-20 cross-site, new", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Sec-Fetch-Site: cross-site")...), status: []int{403}, code: "cross_site"},
	{id: "ADM-20 same-site, delete", wireRequest: calling(keysHost, "DELETE", tokensURL+"/0123456789AB", "",
		by("$M", "Sec-Fetch-Site: same-site")...), status: []int{403}, code: "cross_site"},
	{id: "ADM-20 preflight", wireRequest: calling(keysHost, "OPTIONS", tokensURL, "", "Origin: https://evil.example",
		"Access-Control-Request-Method: POST"), status: []int{401, 405}},
	{id: "ADM-03 no type", wireRequest: calling(keysHost, "POST", tokensURL, newToken, by("$M")...), status: []int{415},
		code: "unsupported_media_type"},
	{id: "ADM-03 text", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: text/plain")...), status: []int{415}, code: "unsupported_media_type"},
	{id: "ADM-03 form", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: application/x-www-form-urlencoded")...), status: []int{415},
		code: "unsupported_media_type"},
	{id: "ADM-03 multipart", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: multipart/form-data; boundary=x")...), status: []int{415},
		code: "unsupported_media_type"},
	{id: "ADM-03 UTF-16", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: application/json; charset=utf-16")...), status: []int{415},
		code: "unsupported_media_type"},
	{id: "ADM-03 text/json", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: text/json")...), status: []int{415}, code: "unsupported_media_type"},
	{id: "ADM-11 two slashes", wireRequest: calling(keysHost, "GET", "/api/v1//tokens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-11 dots", wireRequest: calling(keysHost, "GET", "/api/v1/x/../tokens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-11 dots before", wireRequest: calling(keysHost, "GET", "/x/../api/v1/tokens", "", by("$M")...),
		status: []int{404}},
	{id: "ADM-11 escape", wireRequest: calling(keysHost, "GET", "/api/v1/%74okens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-11 slash at the end", wireRequest: calling(keysHost, "GET", tokensURL+"/", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-13 escaped dots as an id", wireRequest: calling(keysHost, "GET", tokensURL+"/..%2f..", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-13 NUL as an id", wireRequest: calling(keysHost, "GET", tokensURL+"/%00", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-13 long id", wireRequest: calling(keysHost, "GET", tokensURL+"/"+strings.Repeat("a", 300), "",
		by("$M")...), status: []int{404}, code: "not_found"},
	{id: "ADM-13 unknown id", wireRequest: calling(keysHost, "GET", tokensURL+"/0123456789AB", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "ADM-13 delete, two slashes", wireRequest: calling(keysHost, "DELETE", tokensURL+"//", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{id: "LOG-10 token as an id", wireRequest: calling(keysHost, "GET", tokensURL+"/$A", "", by("$M")...),
		status: []int{400}, code: "token_in_url"},
	{id: "LOG-10 token in the query", wireRequest: calling(keysHost, "GET", tokensURL+"?q=$A", "", by("$M")...),
		status: []int{400}, code: "token_in_url"},
	{id: "LOG-10 token in the query, no credential", wireRequest: calling(keysHost, "GET", tokensURL+"?access_token=$M",
		""), status: []int{400}, code: "token_in_url"},
	{id: "LOG-11 name with a line end",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\n2026-01-01 INFO forged","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "LOG-11 name with an escape sequence",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"\u001b[2J","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "LOG-11 name with a line separator",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\u2028b","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...), status: []int{400},
		code: "invalid_field"},
	{id: "LOG-11 long name",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"`+strings.Repeat("a", 20<<10)+`","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "LOG-11 token as a name",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"$A","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "IDH-07 name with a line end and a header",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\r\nX-Token-Name: root","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "IDH-07 long name",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"`+strings.Repeat("a", 10<<10)+`","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "IDH-07 account that is a placeholder",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"account":"{http.request.header.Cookie}"}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "IDH-07 account with a line end",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"account":"default\r\nX-Token-Name: root"}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "IDH-07 scope with a line end",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read\r\nX-Token-Name: root"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "API-01 doubled member",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"scopes":["*"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_json"},
	{id: "API-02 doubled member, letter case",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"Scopes":["*"]}`, by("$M", jsonType)...),
		status: []int{400}},
	{id: "API-03 long s", wireRequest: calling(keysHost, "POST", tokensURL,
		`{"name":"a","expires_in":"1d","ſcopes":["*"]}`, by("$M", jsonType)...), status: []int{400}},
	{id: "API-04 member that isn't given",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"usage_count":0}`, by("$M", jsonType)...),
		status: []int{400}},
	{id: "API-05 trailing data", wireRequest: calling(keysHost, "POST", tokensURL, newToken+newToken,
		by("$M", jsonType)...), status: []int{400}, code: "invalid_json"},
	{id: "API-07 body announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{gigabyte, jsonType}, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{id: "API-07 short body announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{"Content-Length: 1000", jsonType}, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{id: "API-07 body of chunks announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{jsonType}, chunked: true, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{id: "API-07 body announced", wireRequest: wireRequest{host: keysHost, method: "POST", target: tokensURL,
		header: by("$M", gigabyte, jsonType), unfinished: true}, status: []int{413}, code: "body_too_large"},
	{id: "API-07 encoded body", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Content-Encoding: gzip")...), status: []int{415}},
	{id: "API-09 lifetime, exponent",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":1e3,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, larger than an int64",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":9223372036854775808,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, fraction",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":1.5,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, digits in a string",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"10","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, negative",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":-1,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, zero",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":0,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, null",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":null,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, boolean",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":true,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, empty",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, list",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":["1d"],"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, absent", wireRequest: calling(keysHost, "POST", tokensURL,
		`{"name":"a","scopes":["plain:read"]}`, by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-09 lifetime, never",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"never","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{id: "API-10 lifetime, as long as a time.Duration can't be",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":1000000000000,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "API-10 lifetime, the largest int64",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":9223372036854775807,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "API-10 lifetime, years beyond all calendars",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"9999999999y","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{id: "API-14 PUT", wireRequest: calling(keysHost, "PUT", tokensURL, newToken, by("$M", jsonType)...),
		status: []int{405}, code: "method_not_allowed"},
	{id: "API-14 override", wireRequest: calling(keysHost, "GET", tokensURL+"?_method=POST", "",
		by("$M", "X-HTTP-Method-Override: POST")...), status: []int{400}, code: "invalid_parameter"},
	{id: "API-14 TRACE", wireRequest: calling(keysHost, "TRACE", tokensURL, "", by("$M")...), status: []int{405}},
	{id: "API-14 tunnel", wireRequest: tunnel(keysHost, by("$M")...), status: []int{400, 404, 405}},
}

// TestSecurityAdminSite calls the admin API of sites as those who may not, and in ways
// that nobody may.
func TestSecurityAdminSite(t *testing.T) {
	t.Parallel()
	a := startArena(t, adminConfig(), nil)
	wires := a.wires()[:2]
	before := len(a.counts())
	for _, k := range siteAttacks {
		t.Run(k.id, func(t *testing.T) {
			for _, w := range wires {
				if as := (attack{wireRequest: k.wireRequest}); as.runs(w) {
					t.Run(w.String(), func(t *testing.T) { a.attackAdmin(t, w, k) })
				}
			}
		})
	}
	if after := len(a.counts()); after != before {
		t.Errorf("there are %d tokens, want %d", after, before)
	}
	t.Run("LOG-09 new", func(t *testing.T) {
		for _, w := range wires {
			mark := a.logMark()
			request := calling(keysHost, "POST", tokensURL, newToken, by("$M", jsonType)...).expand(a.names.Replace)
			a.checkCreated(t, w.exchange(request, 1)[0], mark)
		}
	})
	t.Run("trusted user", func(t *testing.T) {
		answer := wires[0].exchange(calling(trustHost, "GET", tokensURL, "", "Authorization: Basic YWRtaW46c2VjcmV0"),
			1)[0]
		if answer.status != http.StatusOK {
			t.Errorf("status %d: %s", answer.status, shortened(answer.body))
		}
	})
	if seen := append(a.plain.requests(), a.mollymawk.requests()...); len(seen) > 0 {
		t.Errorf("a backend saw %v", seen)
	}
	a.checkLog(t, a.logSince(0))
}

func (a *arena) attackAdmin(t *testing.T, w wire, k adminAttack) {
	t.Helper()
	mark := a.logMark()
	answer := w.exchange(k.expand(a.names.Replace), 1)[0]
	a.checkAdminAnswer(t, answer, k)
	if !k.logged {
		a.checkLog(t, a.logSince(mark))
	}
}

func (a *arena) checkAdminAnswer(t *testing.T, answer wireAnswer, k adminAttack) {
	t.Helper()
	if !slices.Contains(k.status, answer.status) {
		t.Errorf("status %d (%v), want %v: %s", answer.status, answer.err, k.status, shortened(answer.body))
	}
	var problem struct{ Code string }
	if k.code != "" {
		if err := json.Unmarshal([]byte(answer.body), &problem); err != nil || problem.Code != k.code {
			t.Errorf("the body is %s, want code %s", shortened(answer.body), k.code)
		}
		if got := answer.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q", got)
		}
	}
	if answer.status == http.StatusUnauthorized && k.code != "" &&
		!strings.HasPrefix(answer.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("WWW-Authenticate is %q", answer.header.Get("WWW-Authenticate"))
	}
	for name := range answer.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the answer has %s", name)
		}
	}
	if strings.EqualFold(answer.header.Get("Connection"), "close") && !answer.closed {
		t.Errorf("the connection was to be closed and is open")
	}
	for _, secret := range a.secrets() {
		checkNoSecret(t, "the answer", answer.text(), secret)
	}
}

// checkCreated checks that a new token's secret is told once, and nowhere else.
func (a *arena) checkCreated(t *testing.T, answer wireAnswer, mark int) {
	t.Helper()
	var created struct{ ID, Token string }
	if err := json.Unmarshal([]byte(answer.body), &created); err != nil || answer.status != http.StatusCreated {
		t.Fatalf("status %d: %v", answer.status, err)
	}
	if strings.Count(answer.text(), created.Token[17:49]) != 1 {
		t.Errorf("the answer tells the secret elsewhere, too")
	}
	eventually(t, "the log names the token", func() bool { return strings.Contains(a.logSince(mark), created.ID) },
		noNote{})
	for where, text := range map[string]string{
		"the log": a.logSince(mark), "the list": a.getAdmin("/api_tokens/v1/tokens?limit=200"),
		"the object": a.getAdmin("/api_tokens/v1/tokens/" + created.ID),
	} {
		checkNoSecret(t, where, text, created.Token)
	}
	a.call(http.MethodDelete, "tokens/"+created.ID, nil, http.StatusNoContent)
}

// endpointAttacks are calls of the admin API on Caddy's own admin endpoint, which
// trusts whoever reaches it, but not what a browser is made to send there.
var endpointAttacks = []adminAttack{
	{id: "ADM-01 foreign host", wireRequest: endpoint("GET", "tokens", "", "Host: evil.example:2019"),
		status: []int{403}},
	{id: "ADM-01 dot", wireRequest: endpoint("GET", "tokens", "", "Host: localhost.:2019"), status: []int{403}},
	{id: "ADM-01 any", wireRequest: endpoint("GET", "tokens", "", "Host: 0.0.0.0:2019"), status: []int{403}},
	{id: "ADM-02 origin", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Origin: http://evil.example"), status: []int{403}},
	{id: "ADM-02 origin, JSON", wireRequest: endpoint("POST", "tokens", newToken, jsonType,
		"Origin: http://evil.example"), status: []int{403}},
	{id: "ADM-02 cors", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: cors"), status: []int{403}},
	{id: "ADM-02 navigate", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: navigate"), status: []int{403}},
	{id: "ADM-02 no-cors", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: no-cors"), status: []int{400, 403}},
	{id: "ADM-02 origin null", wireRequest: endpoint("POST", "tokens", newToken, jsonType, "Origin: null"),
		status: []int{400, 403}},
	{id: "ADM-02 cross-site", wireRequest: endpoint("POST", "tokens", newToken, jsonType, "Sec-Fetch-Site: cross-site"),
		status: []int{403}, code: "cross_site"},
	{id: "ADM-02 cross-site, delete", wireRequest: endpoint("DELETE", "tokens/0123456789AB", "",
		"Sec-Fetch-Site: cross-site"), status: []int{403}, code: "cross_site"},
	{id: "ADM-03 text", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain"),
		status: []int{415}, code: "unsupported_media_type"},
	{id: "ADM-03 form", wireRequest: endpoint("POST", "tokens", newToken,
		"Content-Type: application/x-www-form-urlencoded"), status: []int{415}, code: "unsupported_media_type"},
	{id: "ADM-03 no type", wireRequest: endpoint("POST", "tokens", newToken), status: []int{415},
		code: "unsupported_media_type"},
	{id: "ADM-04 referer, text", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Referer: http://evil.example/"), status: []int{415}, code: "unsupported_media_type"},
	// What a program can be made to fetch changes nothing.
	{id: "ADM-08 fetched, as a parameter", wireRequest: endpoint("GET", "tokens?name=made&expires_in=1d&preset=full",
		""), status: []int{400}, code: "invalid_parameter"},
	{id: "ADM-08 fetched, as a method", wireRequest: endpoint("GET", "tokens?_method=POST", "",
		"X-HTTP-Method-Override: POST"), status: []int{400}, code: "invalid_parameter"},
	{id: "ADM-08 fetched, with a body", wireRequest: endpoint("GET", "tokens/0123456789AB", newToken, jsonType),
		status: []int{404}, code: "not_found"},
	{id: "ADM-08 fetched, a change", wireRequest: endpoint("GET", "tokens/0123456789AB/revoke", ""), status: []int{405},
		code: "method_not_allowed"},
	{id: "ADM-08 posted without a type, a change", wireRequest: endpoint("POST", "tokens/0123456789AB/rotate", "{}"),
		status: []int{404, 415}},
	{id: "ADM-08 posted as a form", wireRequest: endpoint("POST", "import", "format=mollymawk",
		"Content-Type: application/x-www-form-urlencoded"), status: []int{415}, code: "unsupported_media_type"},
	{id: "ADM-10 websocket", wireRequest: endpoint("GET", "tokens", "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"), status: []int{400}},
	{id: "ADM-11 two slashes first", wireRequest: wireRequest{method: "GET", target: "//api_tokens/v1/tokens"},
		status: []int{301, 307, 404}},
	{id: "ADM-11 two slashes within", wireRequest: wireRequest{method: "GET", target: "/api_tokens//v1/tokens"},
		status: []int{301, 307, 404}},
	{id: "ADM-11 dots", wireRequest: wireRequest{method: "GET", target: "/x/../api_tokens/v1/tokens"},
		status: []int{301, 307, 404}},
	{id: "ADM-11 escaped dots", wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1/tokens/%2e%2e/x"},
		status: []int{404}},
	{id: "ADM-11 above the mount",
		wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1/%2e%2e/%2e%2e/config/"}, status: []int{404}},
	{id: "ADM-11 mount alone", wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1"},
		status: []int{301, 307, 404}},
	{id: "ADM-13 escaped dots as an id", wireRequest: endpoint("GET", "tokens/..%2f..", ""), status: []int{404},
		code: "not_found"},
	{id: "ADM-13 long id", wireRequest: endpoint("GET", "tokens/"+strings.Repeat("a", 300), ""), status: []int{404},
		code: "not_found"},
	{id: "LOG-10 token as an id", wireRequest: endpoint("GET", "tokens/$A", ""), status: []int{400},
		code: "token_in_url", logged: true},
	{id: "LOG-10 token in the query", wireRequest: endpoint("GET", "tokens?q=$A", ""), status: []int{400},
		code: "token_in_url", logged: true},
}

// endpoint is a call on Caddy's admin endpoint.
func endpoint(method, path, body string, header ...string) wireRequest {
	return wireRequest{method: method, target: "/api_tokens/v1/" + path, header: header, body: body}
}

// TestSecurityAdminEndpoint calls Caddy's admin endpoint on a TCP port of the
// loopback interface, where any page that a browser shows can send requests to.
func TestSecurityAdminEndpoint(t *testing.T) {
	t.Parallel()
	a := startArena(t, adminConfig(), nil)
	// A second endpoint can't be had, so the first moves, and comes back for what the
	// harness asks of it.
	port := freePort(t)
	moved := strings.Replace(adminConfig(), "admin unix/{$DIR}/admin.sock", "admin 127.0.0.1:"+port, 1)
	before := len(a.counts())
	if err := a.reload(moved); err != nil {
		t.Fatal(err)
	}
	w := h1{"127.0.0.1:" + port}
	waitForPort(t, w)
	for _, k := range endpointAttacks {
		t.Run(k.id, func(t *testing.T) {
			request := k.expand(a.names.Replace)
			request.host = w.address
			mark := a.logMark()
			a.checkAdminAnswer(t, w.exchange(request, 1)[0], k)
			if !k.logged {
				a.checkLog(t, a.logSince(mark))
			}
		})
	}
	t.Run("ADM-04 referer", func(t *testing.T) {
		request := endpoint("GET", "tokens?limit=200", "", "Referer: http://evil.example/")
		request.host = w.address
		var list struct{ Data []struct{ ID string } }
		a.decode(w.exchange(request, 1)[0].body, &list)
		if len(list.Data) != before {
			t.Errorf("there are %d tokens, want %d", len(list.Data), before)
		}
	})
	if out, err := a.command("reload", "--address", w.address, "--force", "--config",
		a.write("Caddyfile", adminConfig())).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a.eventually("the endpoint is back", func() bool {
		response, err := a.admin().Get("http://caddy/api_tokens/v1/healthz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

func waitForPort(t *testing.T, w h1) {
	t.Helper()
	eventually(t, "the endpoint has moved", func() bool {
		conn, err := dialH1(w.address)
		if err != nil {
			return false
		}
		conn.close()
		return true
	}, noNote{})
}
