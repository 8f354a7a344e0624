package e2e

import "strings"

// spoofed contains identity headers with which a client claims another identity.
var spoofed = []string{
	"X-Token-Name: root", "X-Token-Id: 000000000000", "X-Token-Account: admin", "X-Token-Scopes: *",
	"x-token-name: root", "X-TOKEN-NAME: root",
}

// foreign contains headers that other gateways and proxies use to identify the caller, or that
// the holder of a privileged credential uses to act on someone else's behalf.
var foreign = strings.Split(
	"Impersonate-User Impersonate-Group Sudo X-Consumer-Username X-Credential-Identifier Tailscale-User-Login "+
		"Cf-Access-Authenticated-User-Email X-Goog-Authenticated-User-Email X-Goog-Iap-Jwt-Assertion "+
		"X-Ms-Client-Principal X-Ms-Client-Principal-Name X-Amzn-Oidc-Identity X-Amzn-Oidc-Data X-Authentik-Username "+
		"X-Pomerium-Claim-Email X-Auth-User X-Auth-Request-Email X-Forwarded-User X-Forwarded-Groups "+
		"X-Forwarded-Login Remote-User X-Remote-User X-Webauth-User Ssl-Client-Cert "+
		"X-Userinfo X-User-Id X-Id-Token X-Access-Token X-Jwt-Assertion X-Vouch-User X-Envoy-Internal "+
		"X-Forwarded-Client-Cert X-Hasura-Role X-Trino-User Forwarded X-Real-Ip "+
		"True-Client-Ip Iv-User Sm-User X-Impersonate-User On-Behalf-Of Api-Username X-Redmine-Switch-User "+
		"Es-Security-Runas-User X-Scope-Orgid Client-Cert", " ")

// foreignLines returns a header line for each name in foreign, as changed by the given
// function.
func foreignLines(change func(string) string) (lines []string) {
	for _, name := range foreign {
		lines = append(lines, change(name)+": root")
	}
	return lines
}

func asIs(name string) string { return name }

// spoofing returns a request with a token and the given headers.
func spoofing(header ...string) wireRequest { return get("/plain/read", by("$R", header...)...) }

// trailing returns a request with trailers, which may or may not be announced.
func trailing(target, announced string, trailer ...string) wireRequest {
	r := wireRequest{method: "POST", target: target, header: by("$C"), body: "x", trailer: trailer}
	if announced != "" {
		r.header = append(r.header, "Trailer: "+announced)
	}
	return r
}

// identityAttacks claim another caller's identity.
var identityAttacks = []attack{
	{name: "one identity header", wireRequest: spoofing("X-Token-Name: root"), want: passed("$R")},
	{name: "all identity headers", wireRequest: spoofing(spoofed...), want: passed("$R")},
	{name: "empty identity headers", wireRequest: spoofing("X-Token-Name:", "X-Token-Id: "), want: passed("$R")},
	{name: "identity headers around the credential",
		wireRequest: wireRequest{header: []string{"X-Token-Name: root", bearerLine("$R"), "X-Token-Name: root"}},
		want:        passed("$R")},
	{name: "identity headers on an upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", spoofed...), body: "x"}, want: passed("$C")},
	{name: "identity headers, Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$R", spoofed...)}, want: passed("$R")},
	{name: "identity headers, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/style.css", header: spoofed},
		want:        untouched(200)},
	{name: "identity headers, untouched, with session",
		wireRequest: wireRequest{host: browserHost, header: append([]string{"Cookie: molly_session=$Q"}, spoofed...)},
		want:        untouched(200)},
	{name: "identity headers, untouched, Mollymawk",
		wireRequest: wireRequest{host: browserMollyHost, target: "/style.css",
			header: spoofed}, want: untouched(200)},
	{name: "identity headers, bad token", wireRequest: get("/plain/read", by("$U", spoofed...)...),
		want: refused(401, "unknown_token")},
	{name: "identity headers, account without upstream token", wireRequest: get("/plain/read", by("$N", spoofed...)...),
		want: passed("$N")},
	{name: "other X-Token headers", wireRequest: spoofing("X-Token-Owner: root", "X-Token-: x",
		"X-Token-Admin: true"), want: passed("$R")},
	{name: "identity headers with underscores",
		wireRequest: spoofing("X_Token_Name: root", "x_token_id: root", "X-Token_Name: root",
			"X_TOKEN-ACCOUNT: root"), want: passed("$R")},
	{name: "identity headers with underscores, admitted", aliases: true,
		wireRequest: spoofing("X_Token_Name: root", "X-Token_Id: root"),
		want:        passed("$R")},
	{name: "identity headers with underscores, admitted, lower case", aliases: true,
		wireRequest: spoofing("x_token_name: root", "x-token_account: root"), want: passed("$R")},
	{name: "identity headers with underscores, admitted, untouched", aliases: true,
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"X_Token_Name: root", "X-Token_Id: root"}}, want: untouched(200)},
	{name: "identity headers with dots",
		wireRequest: spoofing("X.Token.Name: root", "x.token.id: root", "X-Token.Name: root"),
		want:        passed("$R")},
	{name: "identity headers with dots, admitted", aliases: true,
		wireRequest: spoofing("X.Token.Name: root", "X-Token.Id: root"),
		want:        passed("$R")},
	{name: "identity headers with dots, admitted, untouched", aliases: true,
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"X.Token.Name: root", "X-Token.Id: root"}}, want: untouched(200)},
	{name: "identity header with underscore and dot, admitted", aliases: true,
		wireRequest: spoofing("X_Token.Name: root"),
		want:        passed("$R")},
	{name: "identity header with underscores in Connection, admitted", over: []string{"h1"}, aliases: true,
		wireRequest: spoofing("X_Token_Name: root", "Connection: X_Token_Name, X-Token-Name"), want: passed("$R")},
	{name: "identity headers of other gateways", wireRequest: spoofing("X-Forwarded-User: root", "Remote-User: root",
		"X-Remote-User: root", "X-Auth-Request-Email: root@example", "X-WEBAUTH-USER: root", "Ssl-Client-Cert: x"),
		want: passed("$R")},
	{name: "identity headers of other gateways with underscores, admitted", aliases: true,
		wireRequest: spoofing("Remote_User: root", "X_Remote_User: root"), want: passed("$R"),
		then: absent("Remote_user", "X_remote_user")},
	{name: "many identity headers of other gateways", wireRequest: spoofing(foreignLines(asIs)...), want: passed("$R")},
	{name: "many identity headers of other gateways, lower case",
		wireRequest: spoofing(foreignLines(strings.ToLower)...),
		want:        passed("$R")},
	{name: "many identity headers of other gateways, upper case", over: []string{"h1"},
		wireRequest: spoofing(foreignLines(strings.ToUpper)...), want: passed("$R")},
	{name: "many identity headers of other gateways, account without upstream token",
		wireRequest: get("/plain/read", by("$N", foreignLines(asIs)...)...), want: passed("$N")},
	{name: "many identity headers of other gateways, upload",
		wireRequest: wireRequest{method: "POST", target: "/plain/upload",
			header: by("$C", foreignLines(asIs)...), body: "x"}, want: passed("$C")},
	{name: "many identity headers of other gateways, Mollymawk",
		wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
			header: by("$R", foreignLines(asIs)...)}, want: passed("$R")},
	{name: "many identity headers of other gateways, websocket",
		wireRequest: upgrading("/plain/socket", "websocket", foreignLines(asIs)...), want: switched("$R")},
	{name: "identity header of another gateway, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"X-Forwarded-User: alice"}}, want: untouched(200),
		then: sawHeader("X-Forwarded-User", "alice")},
	{name: "trailers announced", wireRequest: trailing("/plain/write", "X-Token-Name, Authorization",
		"X-Token-Name: root", "Authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h2": broken("$C", 0, 400), "h3": broken("$C", 0, 400)}},
	{name: "trailers announced, upload", wireRequest: trailing("/plain/upload", "X-Token-Name, Authorization",
		"X-Token-Name: root", "Authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h2": abortedUpload, "h3": abortedUpload}},
	{name: "announced identity in a trailer",
		wireRequest: trailing("/plain/write", "X-Token-Name", "X-Token-Name: root"),
		want:        passed("$C")},
	{name: "other trailers, upload", wireRequest: trailing("/plain/upload", "X-Check, X-Token-Id", "X-Check: sum",
		"X-Token-Id: root"), want: passed("$C")},
	{name: "trailers, underscores, upload", wireRequest: trailing("/plain/upload", "X_Token_Name",
		"X_Token_Name: root"), want: passed("$C")},
	{name: "trailers, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		header: []string{"Trailer: X-Token-Name, X-Check"}, body: "x",
		trailer: []string{"X-Token-Name: root", "X-Check: sum"}}, want: untouched(200)},
	{name: "trailers not announced", wireRequest: trailing("/plain/write", "", "X-Token-Name: root"),
		want: passed("$C")},
	{name: "trailers not announced, upload", wireRequest: trailing("/plain/upload", "", "X-Token-Name: root"),
		want: passed("$C")},
	{name: "trailer announced but not sent, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Trailer: X-Token-Name"), body: "x", chunked: true}, want: passed("$C")},
	{name: "framing in trailers", over: []string{"h1"},
		wireRequest: trailing("/plain/upload", "Content-Length, Host", "Content-Length: 5", "Host: evil"),
		want:        dropped(400)},
	{name: "credential in trailers alone", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: []string{"Trailer: X-Check"}, body: "x", trailer: []string{"X-Check: Bearer $C"}},
		want: refused(401, "missing_token")},
	{name: "identity in trailers in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/write", "", "x-token-name: root", "x_token_id: root"), want: passed("$C")},
	{name: "identity in trailers in HTTP/2 and HTTP/3, upload", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", "x-token-name: root", "x_token_id: root"), want: passed("$C")},
	{name: "identity in trailers in HTTP/2 and HTTP/3, untouched", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login", body: "x",
			trailer: []string{"x-token-name: root"}}, want: untouched(200)},
	{name: "credential in trailers in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/write", "", "authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h3": broken("$C", 400)}},
	{name: "credential in trailers in HTTP/2 and HTTP/3, upload", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", "authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h3": abortedUpload}},
	{name: "pseudo header in trailers", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", ":path: /plain/read"), want: abortedUpload},
	{name: "many identity headers",
		wireRequest: spoofing(strings.Split(strings.Repeat("X-Token-Name: root\n", 100)+"X-Token-Name: root", "\n")...),
		want:        passed("$R")},
	// See checkIdentity for the token name that the backend sees.
	{name: "placeholder in the token name", wireRequest: get("/plain/read", by("$W", "Cookie: a=b")...),
		want: passed("$W")},
	{name: "unusual token name", wireRequest: get("/plain/read", by("$W", "X-Token-Name: root")...),
		want: passed("$W")},
	{name: "unusual token name, Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$W")}, want: passed("$W")},
}
