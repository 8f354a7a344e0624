package gate

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// spellings returns the spellings of a header name that backends may treat as equivalent.
func spellings(name string) []string {
	return []string{
		name, http.CanonicalHeaderKey(name), strings.ToLower(name), strings.ToUpper(name),
		strings.ReplaceAll(name, "-", "_"),
		strings.ReplaceAll(strings.ToUpper(name), "-", "_"), strings.ReplaceAll(name, "-", "."),
		strings.Replace(name, "-", "_", 1), strings.ReplaceAll(strings.ToLower(name), "-", "_"),
	}
}

// TestIdentityHeaders sends headers in which gateways and proxies identify the caller. With a
// token, the gate must not forward any of them, however they are spelled.
func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	token := &tokenstore.Principal{Terms: new(token.Terms)}
	g := newTestGate(t, nil)
	for product, names := range map[string]string{
		"Kubernetes": "Impersonate-User Impersonate-Group Impersonate-Uid Impersonate-Extra-Scopes X-Remote-User " +
			"X-Remote-Group X-Remote-Extra-Scopes X-Kubernetes-User",
		"GitLab, Gitea": "Sudo X-Sudo",
		"Discourse":     "Api-Username",
		"Redmine":       "X-Redmine-Switch-User",
		"Elasticsearch": "Es-Security-Runas-User X-Proxy-User X-Proxy-Roles",
		"Kong": "X-Consumer-Id X-Consumer-Username X-Consumer-Custom-Id X-Consumer-Groups " +
			"X-Credential-Identifier X-Credential-Username X-Anonymous-Consumer X-Authenticated-Userid " +
			"X-Authenticated-Scope X-Authenticated-Groups",
		"Tailscale": "Tailscale-User-Login Tailscale-User-Name Tailscale-User-Profile-Pic " +
			"Tailscale-App-Capabilities",
		"Cloudflare": "Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion Cf-Access-Client-Id " +
			"Cf-Connecting-Ip True-Client-Ip",
		"Google": "X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-Iap-Jwt-Assertion " +
			"X-Endpoint-Api-Userinfo X-Apigateway-Api-Userinfo X-Appengine-User-Email X-Serverless-Authorization",
		"Azure": "X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name " +
			"X-Ms-Client-Principal-Idp X-Ms-Token-Aad-Id-Token X-Arr-Clientcert X-Azure-Clientip",
		"AWS": "X-Amzn-Oidc-Identity X-Amzn-Oidc-Data X-Amzn-Oidc-Accesstoken X-Amzn-Mtls-Clientcert",
		"authentik": "X-Authentik-Username X-Authentik-Groups X-Authentik-Email X-Authentik-Name X-Authentik-Uid " +
			"X-Authentik-Jwt X-Authentik-Meta-App",
		"Authelia": "Remote-User Remote-Groups Remote-Name Remote-Email",
		"Pomerium": "X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email X-Pomerium-Authorization",
		"oauth2-proxy": "X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups " +
			"X-Auth-Request-Access-Token X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups " +
			"X-Forwarded-Preferred-Username X-Forwarded-Access-Token",
		"Traefik": "X-Forwarded-Tls-Client-Cert X-Forwarded-Tls-Client-Cert-Info X-Auth-User X-Auth-Username",
		"Envoy, Istio": "X-Forwarded-Client-Cert X-Envoy-Internal X-Envoy-External-Address X-Envoy-Peer-Metadata " +
			"X-Jwt-Payload X-Jwt-Assertion X-Ext-Authz-User",
		"Vouch":   "X-Vouch-User X-Vouch-Idp-Claims-Email X-Vouch-Idp-Accesstoken",
		"Grafana": "X-Webauth-User X-Webauth-Email X-Webauth-Role X-Scope-Orgid",
		"APISIX, OIDC": "X-Userinfo X-Id-Token X-Access-Token X-Refresh-Token Oidc-Claim-Sub Oidc-Access-Token " +
			"X-Oidc-Email X-Claim-Sub X-Claims",
		"older ones": "Iv-User Iv-Groups Iv-Creds Sm-User Sm-Userdn Smuser Oam-Remote-User Shib-Session-Id Eppn " +
			"Mellon-Name-Id",
		"Hasura, Trino": "X-Hasura-Role X-Hasura-User-Id X-Trino-User X-Presto-User X-Clickhouse-User",
		"custom": "X-User X-User-Id X-User-Name X-User-Email X-User-Roles X-Username X-Groups X-Roles X-Role " +
			"X-Email X-Identity X-Principal X-On-Behalf-Of On-Behalf-Of X-Impersonate-User X-Switch-User " +
			"X-Act-As User Username",
		"bare words": "X-Consumer X-Credential X-Auth X-Account X-Caller X-Admin X-Login X-Sso",
		"words": "X-Kong-Consumer X-Gitlab-Sudo X-Effective-User X-Delegated-User X-Current-User " +
			"X-Logged-In-User X-Sso-User X-Iap-User X-Is-Admin X-Service-Account X-Request-Username " +
			"X-Gateway-Auth X-Portal-Roles X-Remoteuser X-Custom-Principal X-My-User-Id",
		"certificates": "Client-Cert Client-Cert-Chain Ssl-Client-Cert Ssl-Client-S-Dn X-Ssl-Client-Cert " +
			"X-Ssl-Cert X-Client-Cert X-Client-Dn X-Client-Verify X-Tls-Client-Subject",
		"client's address": "Forwarded X-Real-Ip X-Client-Ip Client-Ip X-Cluster-Client-Ip Fastly-Client-Ip " +
			"Fly-Client-Ip X-Forwarded Forwarded-For",
		"any X-Forwarded": "X-Forwarded-Id-Token X-Forwarded-Login X-Forwarded-Roles X-Forwarded-Account " +
			"X-Forwarded-Jwt X-Forwarded-Authorization",
	} {
		for name := range strings.FieldsSeq(names) {
			for _, spelling := range spellings(name) {
				if got := g.Forward(http.Header{spelling: {"root"}}, token, "", nil); got[spelling] != nil {
					t.Errorf("%s: %s is forwarded", product, spelling)
				}
			}
		}
	}
	for name := range strings.FieldsSeq(
		"Accept Accept-Language User-Agent X-User-Agent Content-Type X-Request-Id Traceparent X-Forwarded-For " +
			"X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix " +
			"If-Match If-None-Match Range Origin Referer X-Requested-With X-Amz-Date X-Api-Key X-Custom Remote " +
			"X-Consumers X-Google Impersonated Cf-Ray Author X-Author Idempotency-Key X-Ms-Version Userdata " +
			"Sec-Fetch-Site " +
			"Sec-Fetch-User X-Amz-User-Agent X-Original-User-Agent X-Ms-Useragent X-Author-Id X-Authority " +
			"X-Accounting X-Administration X-Rolex X-Used X-Csrf-Token X-Amz-Security-Token " +
			"X-Client-User-Language") {
		if got := g.Forward(http.Header{name: {"x"}}, token, "", nil); !slices.Equal(got[name], []string{"x"}) {
			t.Errorf("%s isn't forwarded, but should be", name)
		}
	}
}

func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, func(c *Config) { c.RequestHeaders = []string{"accept", "X-Request-Id", "IF-MATCH"} })
	h := headers(t, "Accept: a", "X-Request-Id: 1", "If-Match: 2", "Content-Type: text/plain", "Content-Length: 3",
		"Content-Encoding: gzip", "Early-Data: 1", "Sec-WebSocket-Key: k",
		"X-Custom: no", "User-Agent: no", "X-Forwarded-For: 192.0.2.1", "Referer: no", "X-Tenant: no", "Sudo: root",
		"Cookie: a=b", "X_request_id: no", "Accept-Language: no")
	got := g.Forward(h, &tokenstore.Principal{Terms: &token.Terms{Account: "alice"}}, "Bearer upstream", nil)
	want := []string{
		"Accept", "Authorization", "Content-Encoding", "Content-Length", "Content-Type", "Early-Data", "If-Match",
		"Sec-Websocket-Key", "X-Request-Id", "X-Token-Account", "X-Token-Id", "X-Token-Name",
	}
	if names := slices.Sorted(maps.Keys(got)); !reflect.DeepEqual(names, want) {
		t.Errorf("got forwarded headers %q, want %q", names, want)
	}
}

func TestCheckRequestHeaders(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {"Accept"}, {"x-tenant-id", "If-Match", "Content-Length", "Content-Type",
		"X-Forwarded-For", "Idempotency-Key"}} {
		if err := CheckRequestHeaders(names); err != nil {
			t.Errorf("CheckRequestHeaders(%q) returned %v, want no error", names, err)
		}
	}
	for name, says := range map[string]string{
		"": "not a header name", "a b": "not a header name", "X-*": "not a header name",
		"Accept:":       "not a header name",
		"Authorization": "never forwarded", "cookie": "never forwarded", "proxy_authorization": "never forwarded",
		"Connection": "never forwarded", "Upgrade": "never forwarded",
		"Transfer-Encoding": "never forwarded", "Trailer": "never forwarded", "Host": "never forwarded",
		"Accept-Encoding": "never forwarded",
		"X-Token-Id":      "always removed", "sudo": "always removed", "X-Forwarded-User": "always removed",
		"Remote_User": "always removed", "X-HTTP-Method-Override": "always removed",
	} {
		for _, names := range [][]string{{name}, {"Accept", name}} {
			if err := CheckRequestHeaders(names); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("CheckRequestHeaders(%q) returned %v, want an error with %q", names, err, says)
			}
		}
		if _, err := New(Config{Table: Table{Routes: testRoutes()}, RequestHeaders: []string{name}}); err == nil {
			t.Errorf("New accepted the request header %q", name)
		}
	}
	if CheckRequestHeaders([]string{}) == nil {
		t.Error("CheckRequestHeaders accepted an empty list")
	}
}

func BenchmarkForward(b *testing.B) {
	h := headers(b,
		"Accept: */*", "User-Agent: curl/8.0", "Content-Type: application/json", "Content-Length: 2",
		"X-Forwarded-For: 192.0.2.1", "X-Request-Id: 1", "Accept-Language: en", "Traceparent: 00-1-2-03",
	)
	token := &tokenstore.Principal{Terms: new(token.Terms)}
	g := newTestGate(b, nil)
	values := make([]string, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		g.Forward(h, token, "Bearer x", values)
	}
}
