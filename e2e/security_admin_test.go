package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// adminAttack is an admin API call that must be refused, or whose response must contain no
// more than is listed here.
type adminAttack struct {
	name string
	wireRequest
	status []int
	// code is the refusal's error code, if the admin API refuses the call.
	code string
	// logged reports whether Caddy itself logs the URL, which Mollygate can't prevent.
	logged bool
}

const (
	keysHost = "keys.test"
	// These sites' admin APIs trust the users of an authenticator in front of them.
	trustHost, trustGateHost, trustNobodyHost = "trust.test", "trust-gate.test", "trust-nobody.test"
	jsonType                                  = "Content-Type: application/json"
	newToken                                  = `{"name":"made","expires_in":"1d","scopes":["plain:read"]}`
)

func adminConfig() string {
	const basic = "basic_auth {\nadmin " + hash + "\nguest " + hash + "\n}\n"
	return testbedHead +
		testbedBlock(gatedHost, gateBlock(routeLines)+proxy) +
		testbedBlock(gatedMollyHost, gateBlock("routes mollymawk")+"import mollymawk") +
		testbedBlock(keysHost, "log_append sent {http.request.header.Authorization}\napi_tokens_admin") +
		testbedBlock(trustHost, "route {\n"+basic+"api_tokens_admin {\ntrust_user admin\n}\n}") +
		testbedBlock(trustNobodyHost, "api_tokens_admin {\ntrust_user\n}") +
		testbedBlock(trustGateHost,
			"route {\n"+gateBlock("route GET /api/v1/tokens plain:read\nroute POST /api/v1/tokens plain:write\n")+
				"api_tokens_admin {\ntrust_user\n}\n}")
}

// calling returns a call to a site's admin API.
func calling(host, method, path, body string, header ...string) wireRequest {
	return wireRequest{host: host, method: method, target: path, header: header, body: body}
}

const tokensURL = "/api/v1/tokens"

// siteAttacks are calls to a site's admin API.
var siteAttacks = []adminAttack{
	{name: "no credential", wireRequest: calling(keysHost, "GET", tokensURL, ""), status: []int{401},
		code: "missing_token"},
	{name: "no credential, create", wireRequest: calling(keysHost, "POST", tokensURL, newToken, jsonType),
		status: []int{401}, code: "missing_token"},
	{name: "no credential, health", wireRequest: calling(keysHost, "GET", "/api/v1/healthz", ""),
		status: []int{401}, code: "missing_token"},
	{name: "no credential, unknown path", wireRequest: calling(keysHost, "GET", "/api/v1/nothing", ""),
		status: []int{401}, code: "missing_token"},
	{name: "trust without an authenticator", wireRequest: calling(trustNobodyHost, "GET", tokensURL, ""),
		status: []int{401}, code: "missing_token"},
	{name: "trust, user in headers", wireRequest: calling(trustNobodyHost, "GET", tokensURL, "",
		"X-Token-Id: admin", "Remote-User: admin", "X-Remote-User: admin"), status: []int{401}, code: "missing_token"},
	{name: "trust, wrong password", wireRequest: calling(trustHost, "GET", tokensURL, "",
		"Authorization: Basic YWRtaW46d3Jvbmc="), status: []int{401}},
	{name: "trust, another user", wireRequest: calling(trustHost, "GET", tokensURL, "",
		"Authorization: Basic Z3Vlc3Q6c2VjcmV0"), status: []int{401}, code: "missing_token"},
	{name: "trust, no password", wireRequest: calling(trustHost, "GET", tokensURL, ""), status: []int{401}},
	{name: "API token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$A")...), status: []int{403},
		code: "wrong_kind"},
	{name: "API token, create", wireRequest: calling(keysHost, "POST", tokensURL, newToken, by("$A", jsonType)...),
		status: []int{403}, code: "wrong_kind"},
	{name: "unknown token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$U")...), status: []int{401},
		code: "unknown_token"},
	{name: "two credentials", wireRequest: calling(keysHost, "GET", tokensURL, "", bearerLine("$M"),
		bearerLine("$A")), status: []int{400}, code: "invalid_request"},
	{name: "credential in a cookie", wireRequest: calling(keysHost, "GET", tokensURL, "",
		"Cookie: token=$M; session=$M"), status: []int{401}, code: "missing_token"},
	{name: "upstream token", wireRequest: calling(keysHost, "GET", tokensURL, "", by("$B")...),
		status: []int{401}, code: "unknown_token"},
	{name: "credential named in Connection", wireRequest: calling(keysHost, "GET", tokensURL, "",
		by("$A", "Connection: Authorization")...), status: []int{400, 403}},
	{name: "token that passed a gate", wireRequest: calling(trustGateHost, "GET", tokensURL, "", by("$N")...),
		status: []int{401}, code: "missing_token"},
	{name: "token that passed a gate, with a credential", wireRequest: calling(trustGateHost, "GET", tokensURL, "",
		by("$A")...), status: []int{401, 502}},
	{name: "token that passed a gate, create", wireRequest: calling(trustGateHost, "POST", tokensURL, newToken,
		by("$N", jsonType)...), status: []int{401}, code: "missing_token"},
	{name: "admin token at a gate", wireRequest: calling(trustGateHost, "GET", tokensURL, "", by("$M")...),
		status: []int{403}, code: "wrong_kind"},
	{name: "other origin", wireRequest: calling(keysHost, "GET", tokensURL+"?limit=1", "",
		by("$M", "Origin: https://evil.example")...), status: []int{200}},
	{name: "other origin, create", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Origin: https://evil.example")...), status: []int{403}, code: "cross_site"},
	{name: "cross-site, create", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Sec-Fetch-Site: cross-site")...), status: []int{403}, code: "cross_site"},
	{name: "same-site, delete", wireRequest: calling(keysHost, "DELETE", tokensURL+"/0123456789AB", "",
		by("$M", "Sec-Fetch-Site: same-site")...), status: []int{403}, code: "cross_site"},
	{name: "preflight", wireRequest: calling(keysHost, "OPTIONS", tokensURL, "", "Origin: https://evil.example",
		"Access-Control-Request-Method: POST"), status: []int{401, 405}},
	{name: "no content type", wireRequest: calling(keysHost, "POST", tokensURL, newToken, by("$M")...),
		status: []int{415},
		code:   "unsupported_media_type"},
	{name: "content type text/plain", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: text/plain")...), status: []int{415}, code: "unsupported_media_type"},
	{name: "form content type", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: application/x-www-form-urlencoded")...), status: []int{415},
		code: "unsupported_media_type"},
	{name: "content type multipart/form-data", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: multipart/form-data; boundary=x")...), status: []int{415},
		code: "unsupported_media_type"},
	{name: "content type with UTF-16", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: application/json; charset=utf-16")...), status: []int{415},
		code: "unsupported_media_type"},
	{name: "content type text/json", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", "Content-Type: text/json")...), status: []int{415}, code: "unsupported_media_type"},
	{name: "path with two slashes", wireRequest: calling(keysHost, "GET", "/api/v1//tokens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "path with dots", wireRequest: calling(keysHost, "GET", "/api/v1/x/../tokens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "path with dots before the mount",
		wireRequest: calling(keysHost, "GET", "/x/../api/v1/tokens", "", by("$M")...),
		status:      []int{404}},
	{name: "path with an escaped letter", wireRequest: calling(keysHost, "GET", "/api/v1/%74okens", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "path with a slash at the end", wireRequest: calling(keysHost, "GET", tokensURL+"/", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "escaped dots as an ID", wireRequest: calling(keysHost, "GET", tokensURL+"/..%2f..", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "NUL as an ID", wireRequest: calling(keysHost, "GET", tokensURL+"/%00", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "long ID", wireRequest: calling(keysHost, "GET", tokensURL+"/"+strings.Repeat("a", 300), "",
		by("$M")...), status: []int{404}, code: "not_found"},
	{name: "unknown ID", wireRequest: calling(keysHost, "GET", tokensURL+"/0123456789AB", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "delete with an empty ID", wireRequest: calling(keysHost, "DELETE", tokensURL+"//", "", by("$M")...),
		status: []int{404}, code: "not_found"},
	{name: "token as an ID", wireRequest: calling(keysHost, "GET", tokensURL+"/$A", "", by("$M")...),
		status: []int{400}, code: "token_in_url"},
	{name: "token in the query", wireRequest: calling(keysHost, "GET", tokensURL+"?q=$A", "", by("$M")...),
		status: []int{400}, code: "token_in_url"},
	{name: "token in the query, no credential", wireRequest: calling(keysHost, "GET", tokensURL+"?access_token=$M",
		""), status: []int{400}, code: "token_in_url"},
	{name: "name with a line break",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\n2026-01-01 INFO forged","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "name with an escape sequence",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"\u001b[2J","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "name with a line separator",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\u2028b","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...), status: []int{400},
		code: "invalid_field"},
	{name: "long name",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"`+strings.Repeat("a", 20<<10)+`","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "token as the name",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"$A","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "name with a line break and a header",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a\r\nX-Token-Name: root","expires_in":"1d","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "very long name",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"`+strings.Repeat("a", 10<<10)+`","expires_in":"1d","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "account that is a placeholder",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"account":"{http.request.header.Cookie}"}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "account with a line break",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"account":"default\r\nX-Token-Name: root"}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "scope with a line break",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read\r\nX-Token-Name: root"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "duplicate member",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"scopes":["*"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_json"},
	{name: "duplicate member in another case",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"Scopes":["*"]}`, by("$M", jsonType)...),
		status: []int{400}},
	{name: "member with a long s", wireRequest: calling(keysHost, "POST", tokensURL,
		`{"name":"a","expires_in":"1d","ſcopes":["*"]}`, by("$M", jsonType)...), status: []int{400}},
	{name: "read-only member",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"1d","scopes":["plain:read"],"usage_count":0}`, by("$M", jsonType)...),
		status: []int{400}},
	{name: "trailing data", wireRequest: calling(keysHost, "POST", tokensURL, newToken+newToken,
		by("$M", jsonType)...), status: []int{400}, code: "invalid_json"},
	{name: "body announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{gigabyte, jsonType}, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{name: "short body announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{"Content-Length: 1000", jsonType}, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{name: "chunked body announced, no credential", wireRequest: wireRequest{host: keysHost, method: "POST",
		target: tokensURL, header: []string{jsonType}, chunked: true, unfinished: true}, status: []int{401},
		code: "missing_token"},
	{name: "body announced", wireRequest: wireRequest{host: keysHost, method: "POST", target: tokensURL,
		header: by("$M", gigabyte, jsonType), unfinished: true}, status: []int{413}, code: "body_too_large"},
	{name: "encoded body", wireRequest: calling(keysHost, "POST", tokensURL, newToken,
		by("$M", jsonType, "Content-Encoding: gzip")...), status: []int{415}},
	{name: "lifetime, exponent",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":1e3,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, too large for int64",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":9223372036854775808,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "lifetime, fraction",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":1.5,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, digits in a string",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"10","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, negative",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":-1,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, zero",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":0,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, null",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":null,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, boolean",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":true,"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, empty",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, list",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":["1d"],"scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, absent", wireRequest: calling(keysHost, "POST", tokensURL,
		`{"name":"a","scopes":["plain:read"]}`, by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, never",
		wireRequest: calling(keysHost, "POST", tokensURL, `{"name":"a","expires_in":"never","scopes":["plain:read"]}`,
			by("$M", jsonType)...), status: []int{400}, code: "invalid_field"},
	{name: "lifetime, too long for time.Duration",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":1000000000000,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "lifetime, the largest int64",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":9223372036854775807,"scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "lifetime, too many years",
		wireRequest: calling(keysHost, "POST", tokensURL,
			`{"name":"a","expires_in":"9999999999y","scopes":["plain:read"]}`, by("$M", jsonType)...),
		status: []int{400}, code: "invalid_field"},
	{name: "PUT", wireRequest: calling(keysHost, "PUT", tokensURL, newToken, by("$M", jsonType)...),
		status: []int{405}, code: "method_not_allowed"},
	{name: "method override", wireRequest: calling(keysHost, "GET", tokensURL+"?_method=POST", "",
		by("$M", "X-HTTP-Method-Override: POST")...), status: []int{400}, code: "invalid_parameter"},
	{name: "TRACE", wireRequest: calling(keysHost, "TRACE", tokensURL, "", by("$M")...), status: []int{405}},
	{name: "tunnel", wireRequest: tunnel(keysHost, by("$M")...), status: []int{400, 404, 405}},
}

// TestSecurityAdminSite calls sites' admin APIs without permission, and in ways that are never
// permitted.
func TestSecurityAdminSite(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, adminConfig(), nil)
	wires := a.wires()[:2]
	before := len(a.counts())
	for _, k := range siteAttacks {
		t.Run(k.name, func(t *testing.T) {
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
	t.Run("created token", func(t *testing.T) {
		for _, w := range wires {
			mark := a.logMark()
			request := calling(keysHost, "POST", tokensURL, newToken, by("$M", jsonType)...).expand(a.names.Replace)
			a.checkCreated(t, w.exchange(request, 1)[0], mark)
		}
	})
	t.Run("trusted user", func(t *testing.T) {
		response := wires[0].exchange(calling(trustHost, "GET", tokensURL, "", "Authorization: Basic YWRtaW46c2VjcmV0"),
			1)[0]
		if response.status != http.StatusOK {
			t.Errorf("got status %d: %s", response.status, shortened(response.body))
		}
	})
	if seen := append(a.plain.requests(), a.mollymawk.requests()...); len(seen) > 0 {
		t.Errorf("a backend saw %v", seen)
	}
	a.checkLog(t, a.logSince(0))
}

func (a *testbed) attackAdmin(t *testing.T, w wire, k adminAttack) {
	t.Helper()
	mark := a.logMark()
	response := w.exchange(k.expand(a.names.Replace), 1)[0]
	a.checkAdminResponse(t, response, k)
	if !k.logged {
		a.checkLog(t, a.logSince(mark))
	}
}

func (a *testbed) checkAdminResponse(t *testing.T, response wireResponse, k adminAttack) {
	t.Helper()
	if !slices.Contains(k.status, response.status) {
		t.Errorf("got status %d (%v), want %v: %s", response.status, response.err, k.status, shortened(response.body))
	}
	var problem struct{ Code string }
	if k.code != "" {
		if err := json.Unmarshal([]byte(response.body), &problem); err != nil || problem.Code != k.code {
			t.Errorf("got body %s, want code %s", shortened(response.body), k.code)
		}
		if got := response.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q, want no-store", got)
		}
	}
	if response.status == http.StatusUnauthorized && k.code != "" &&
		!strings.HasPrefix(response.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("got WWW-Authenticate: %q", response.header.Get("WWW-Authenticate"))
	}
	for name := range response.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the response must not have the header %s", name)
		}
	}
	if strings.EqualFold(response.header.Get("Connection"), "close") && !response.closed {
		t.Errorf("the connection is still open after Connection: close")
	}
	for _, secret := range a.secrets() {
		checkNoSecret(t, "the response", response.text(), secret)
	}
}

// checkCreated checks that the response contains a new token's secret exactly once, and that
// the secret appears nowhere else.
func (a *testbed) checkCreated(t *testing.T, response wireResponse, mark int) {
	t.Helper()
	var created struct{ ID, Token string }
	if err := json.Unmarshal([]byte(response.body), &created); err != nil || response.status != http.StatusCreated {
		t.Fatalf("got status %d: %v", response.status, err)
	}
	if strings.Count(response.text(), created.Token[17:49]) != 1 {
		t.Errorf("the response contains the secret more than once")
	}
	eventually(t, "the log contains the token's ID",
		func() bool { return strings.Contains(a.logSince(mark), created.ID) }, noNote{})
	for where, text := range map[string]string{
		"the log": a.logSince(mark), "the list": a.getAdmin("/api_tokens/v1/tokens?limit=200"),
		"the object": a.getAdmin("/api_tokens/v1/tokens/" + created.ID),
	} {
		checkNoSecret(t, where, text, created.Token)
	}
	a.call(http.MethodDelete, "tokens/"+created.ID, nil, http.StatusNoContent)
}

// endpointAttacks are admin API calls to Caddy's own admin endpoint, which trusts everyone who
// can connect, but not requests that an attacker tricks a browser into sending.
var endpointAttacks = []adminAttack{
	{name: "another host", wireRequest: endpoint("GET", "tokens", "", "Host: evil.example:2019"),
		status: []int{403}},
	{name: "host with a dot at the end", wireRequest: endpoint("GET", "tokens", "", "Host: localhost.:2019"),
		status: []int{403}},
	{name: "host 0.0.0.0", wireRequest: endpoint("GET", "tokens", "", "Host: 0.0.0.0:2019"), status: []int{403}},
	{name: "other origin", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Origin: http://evil.example"), status: []int{403}},
	{name: "other origin, JSON", wireRequest: endpoint("POST", "tokens", newToken, jsonType,
		"Origin: http://evil.example"), status: []int{403}},
	{name: "fetch mode cors", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: cors"), status: []int{403}},
	{name: "fetch mode navigate", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: navigate"), status: []int{403}},
	{name: "fetch mode no-cors", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Sec-Fetch-Mode: no-cors"), status: []int{400, 403}},
	{name: "origin null", wireRequest: endpoint("POST", "tokens", newToken, jsonType, "Origin: null"),
		status: []int{400, 403}},
	{name: "cross-site", wireRequest: endpoint("POST", "tokens", newToken, jsonType, "Sec-Fetch-Site: cross-site"),
		status: []int{403}, code: "cross_site"},
	{name: "cross-site, delete", wireRequest: endpoint("DELETE", "tokens/0123456789AB", "",
		"Sec-Fetch-Site: cross-site"), status: []int{403}, code: "cross_site"},
	{name: "content type text/plain", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain"),
		status: []int{415}, code: "unsupported_media_type"},
	{name: "form content type", wireRequest: endpoint("POST", "tokens", newToken,
		"Content-Type: application/x-www-form-urlencoded"), status: []int{415}, code: "unsupported_media_type"},
	{name: "no content type", wireRequest: endpoint("POST", "tokens", newToken), status: []int{415},
		code: "unsupported_media_type"},
	{name: "other referer, text/plain", wireRequest: endpoint("POST", "tokens", newToken, "Content-Type: text/plain",
		"Referer: http://evil.example/"), status: []int{415}, code: "unsupported_media_type"},
	// GET requests that an attacker tricks a program into sending must not change anything.
	{name: "GET with a new token's parameters",
		wireRequest: endpoint("GET", "tokens?name=made&expires_in=1d&preset=full",
			""), status: []int{400}, code: "invalid_parameter"},
	{name: "GET with a method override", wireRequest: endpoint("GET", "tokens?_method=POST", "",
		"X-HTTP-Method-Override: POST"), status: []int{400}, code: "invalid_parameter"},
	{name: "GET with a body", wireRequest: endpoint("GET", "tokens/0123456789AB", newToken, jsonType),
		status: []int{404}, code: "not_found"},
	{name: "changing call by GET", wireRequest: endpoint("GET", "tokens/0123456789AB/revoke", ""), status: []int{405},
		code: "method_not_allowed"},
	{name: "changing call without a content type", wireRequest: endpoint("POST", "tokens/0123456789AB/rotate", "{}"),
		status: []int{404, 415}},
	{name: "import as a form", wireRequest: endpoint("POST", "import", "format=mollymawk",
		"Content-Type: application/x-www-form-urlencoded"), status: []int{415}, code: "unsupported_media_type"},
	{name: "websocket", wireRequest: endpoint("GET", "tokens", "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"), status: []int{400}},
	{name: "path with two slashes first", wireRequest: wireRequest{method: "GET", target: "//api_tokens/v1/tokens"},
		status: []int{301, 307, 404}},
	{name: "path with two slashes within", wireRequest: wireRequest{method: "GET", target: "/api_tokens//v1/tokens"},
		status: []int{301, 307, 404}},
	{name: "path with dots", wireRequest: wireRequest{method: "GET", target: "/x/../api_tokens/v1/tokens"},
		status: []int{301, 307, 404}},
	{name: "path with escaped dots", wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1/tokens/%2e%2e/x"},
		status: []int{404}},
	{name: "path above the mount",
		wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1/%2e%2e/%2e%2e/config/"}, status: []int{404}},
	{name: "path of the mount", wireRequest: wireRequest{method: "GET", target: "/api_tokens/v1"},
		status: []int{301, 307, 404}},
	{name: "escaped dots as an ID", wireRequest: endpoint("GET", "tokens/..%2f..", ""), status: []int{404},
		code: "not_found"},
	{name: "long ID", wireRequest: endpoint("GET", "tokens/"+strings.Repeat("a", 300), ""), status: []int{404},
		code: "not_found"},
	{name: "token as an ID", wireRequest: endpoint("GET", "tokens/$A", ""), status: []int{400},
		code: "token_in_url", logged: true},
	{name: "token in the query", wireRequest: endpoint("GET", "tokens?q=$A", ""), status: []int{400},
		code: "token_in_url", logged: true},
}

// endpoint returns an admin API call to Caddy's admin endpoint.
func endpoint(method, path, body string, header ...string) wireRequest {
	return wireRequest{method: method, target: "/api_tokens/v1/" + path, header: header, body: body}
}

// TestSecurityAdminEndpoint calls Caddy's admin endpoint on a loopback TCP port, to which any
// web page in a browser can send requests.
func TestSecurityAdminEndpoint(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, adminConfig(), nil)
	// Caddy can't have a second admin endpoint, so the test moves the existing one to a port,
	// and moves it back to make its own calls.
	port := freePort(t)
	moved := strings.Replace(adminConfig(), "admin unix/{$DIR}/admin.sock", "admin 127.0.0.1:"+port, 1)
	before := len(a.counts())
	if err := a.reload(moved); err != nil {
		t.Fatal(err)
	}
	w := h1{"127.0.0.1:" + port}
	waitForPort(t, w)
	for _, k := range endpointAttacks {
		t.Run(k.name, func(t *testing.T) {
			request := k.expand(a.names.Replace)
			request.host = w.address
			mark := a.logMark()
			a.checkAdminResponse(t, w.exchange(request, 1)[0], k)
			if !k.logged {
				a.checkLog(t, a.logSince(mark))
			}
		})
	}
	t.Run("referer", func(t *testing.T) {
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
	a.eventually("the endpoint has moved back", func() bool {
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
