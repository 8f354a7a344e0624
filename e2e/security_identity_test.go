package e2e

import "strings"

// spoofed are identity headers in which a client names somebody else.
var spoofed = []string{
	"X-Token-Name: root", "X-Token-Id: 000000000000", "X-Token-Account: admin", "X-Token-Scopes: *",
	"x-token-name: root", "X-TOKEN-NAME: root",
}

// foreign are headers in which other gateways and proxies name the caller, or by which
// a privileged credential acts as somebody else.
var foreign = strings.Split(
	"Impersonate-User Impersonate-Group Sudo X-Consumer-Username X-Credential-Identifier Tailscale-User-Login Cf-Access-Authenticated-User-Email "+
		"X-Goog-Authenticated-User-Email X-Goog-Iap-Jwt-Assertion X-Ms-Client-Principal X-Ms-Client-Principal-Name X-Amzn-Oidc-Identity X-Amzn-Oidc-Data X-Authentik-Username "+
		"X-Pomerium-Claim-Email X-Auth-User X-Auth-Request-Email X-Forwarded-User X-Forwarded-Groups X-Forwarded-Login Remote-User X-Remote-User X-Webauth-User Ssl-Client-Cert "+
		"X-Userinfo X-User-Id X-Id-Token X-Access-Token X-Jwt-Assertion X-Vouch-User X-Envoy-Internal X-Forwarded-Client-Cert X-Hasura-Role X-Trino-User Forwarded X-Real-Ip "+
		"True-Client-Ip Iv-User Sm-User X-Impersonate-User On-Behalf-Of Api-Username X-Redmine-Switch-User Es-Security-Runas-User X-Scope-Orgid Client-Cert", " ")

// foreignLines returns a header line for each of foreign, its name changed.
func foreignLines(change func(string) string) (lines []string) {
	for _, name := range foreign {
		lines = append(lines, change(name)+": root")
	}
	return lines
}

func asIs(name string) string { return name }

// spoofing is a request with a token and these headers.
func spoofing(header ...string) wireRequest { return get("/plain/read", by("$R", header...)...) }

// trailing is a request with trailers, announced or not.
func trailing(target, announced string, trailer ...string) wireRequest {
	r := wireRequest{method: "POST", target: target, header: by("$C"), body: "x", trailer: trailer}
	if announced != "" {
		r.header = append(r.header, "Trailer: "+announced)
	}
	return r
}

// identityAttacks pretend to be somebody: section 1.5.
var identityAttacks = []attack{
	{id: "IDH-01 one", wireRequest: spoofing("X-Token-Name: root"), want: passed("$R")},
	{id: "IDH-01 all", wireRequest: spoofing(spoofed...), want: passed("$R")},
	{id: "IDH-01 empty", wireRequest: spoofing("X-Token-Name:", "X-Token-Id: "), want: passed("$R")},
	{id: "IDH-01 before the credential",
		wireRequest: wireRequest{header: []string{"X-Token-Name: root", bearerLine("$R"), "X-Token-Name: root"}},
		want:        passed("$R")},
	{id: "IDH-01 on an upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", spoofed...), body: "x"}, want: passed("$C")},
	{id: "IDH-01 at a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$R", spoofed...)}, want: passed("$R")},
	{id: "IDH-01 untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css", header: spoofed},
		want: untouched(200)},
	{id: "IDH-01 untouched, with session",
		wireRequest: wireRequest{host: browserHost, header: append([]string{"Cookie: molly_session=$Q"}, spoofed...)},
		want:        untouched(200)},
	{id: "IDH-01 untouched, at a Mollymawk", wireRequest: wireRequest{host: browserMollyHost, target: "/style.css",
		header: spoofed}, want: untouched(200)},
	{id: "IDH-01 refused", wireRequest: get("/plain/read", by("$U", spoofed...)...),
		want: refused(401, "unknown_token")},
	{id: "IDH-02 account without a credential", wireRequest: get("/plain/read", by("$N", spoofed...)...),
		want: passed("$N")},
	{id: "IDH-02 other names of ours", wireRequest: spoofing("X-Token-Owner: root", "X-Token-: x",
		"X-Token-Admin: true"), want: passed("$R")},
	{id: "IDH-03 underscores", wireRequest: spoofing("X_Token_Name: root", "x_token_id: root", "X-Token_Name: root",
		"X_TOKEN-ACCOUNT: root"), want: passed("$R")},
	{id: "IDH-03 underscores, let in", aliases: true, wireRequest: spoofing("X_Token_Name: root", "X-Token_Id: root"),
		want: passed("$R")},
	{id: "IDH-03 underscores, let in, lower case", aliases: true,
		wireRequest: spoofing("x_token_name: root", "x-token_account: root"), want: passed("$R")},
	{id: "IDH-03 underscores, let in, untouched", aliases: true,
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"X_Token_Name: root", "X-Token_Id: root"}}, want: untouched(200)},
	{id: "IDH-04 dots", wireRequest: spoofing("X.Token.Name: root", "x.token.id: root", "X-Token.Name: root"),
		want: passed("$R")},
	{id: "IDH-04 dots, let in", aliases: true, wireRequest: spoofing("X.Token.Name: root", "X-Token.Id: root"),
		want: passed("$R")},
	{id: "IDH-04 dots, let in, untouched", aliases: true,
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"X.Token.Name: root", "X-Token.Id: root"}}, want: untouched(200)},
	{id: "IDH-05 underscore and dot, let in", aliases: true, wireRequest: spoofing("X_Token.Name: root"),
		want: passed("$R")},
	{id: "IDH-06 named in Connection, let in", over: []string{"h1"}, aliases: true,
		wireRequest: spoofing("X_Token_Name: root", "Connection: X_Token_Name, X-Token-Name"), want: passed("$R")},
	{id: "IDH-08 foreign identities", wireRequest: spoofing("X-Forwarded-User: root", "Remote-User: root",
		"X-Remote-User: root", "X-Auth-Request-Email: root@example", "X-WEBAUTH-USER: root", "Ssl-Client-Cert: x"),
		want: passed("$R")},
	{id: "IDH-08 foreign identities, let in", aliases: true,
		wireRequest: spoofing("Remote_User: root", "X_Remote_User: root"), want: passed("$R"),
		then: absent("Remote_user", "X_remote_user")},
	{id: "IDH-08 many foreign identities", wireRequest: spoofing(foreignLines(asIs)...), want: passed("$R")},
	{id: "IDH-08 many foreign identities, lower case", wireRequest: spoofing(foreignLines(strings.ToLower)...),
		want: passed("$R")},
	{id: "IDH-08 many foreign identities, upper case", over: []string{"h1"},
		wireRequest: spoofing(foreignLines(strings.ToUpper)...), want: passed("$R")},
	{id: "IDH-08 many foreign identities, account without a credential",
		wireRequest: get("/plain/read", by("$N", foreignLines(asIs)...)...), want: passed("$N")},
	{id: "IDH-08 many foreign identities, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", foreignLines(asIs)...), body: "x"}, want: passed("$C")},
	{id: "IDH-08 many foreign identities, Mollymawk",
		wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
			header: by("$R", foreignLines(asIs)...)}, want: passed("$R")},
	{id: "IDH-08 many foreign identities, websocket",
		wireRequest: upgrading("/plain/socket", "websocket", foreignLines(asIs)...), want: switched("$R")},
	{id: "IDH-08 foreign identity, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css",
		header: []string{"X-Forwarded-User: alice"}}, want: untouched(200),
		then: sawHeader("X-Forwarded-User", "alice")},
	{id: "IDH-10 trailers announced", wireRequest: trailing("/plain/write", "X-Token-Name, Authorization",
		"X-Token-Name: root", "Authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h2": broken("$C", 0, 400), "h3": broken("$C", 0, 400)}},
	{id: "IDH-10 trailers announced, upload", wireRequest: trailing("/plain/upload", "X-Token-Name, Authorization",
		"X-Token-Name: root", "Authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h2": abortedUpload, "h3": abortedUpload}},
	{id: "IDH-10 identity in trailers", wireRequest: trailing("/plain/write", "X-Token-Name", "X-Token-Name: root"),
		want: passed("$C")},
	{id: "IDH-10 other trailers, upload", wireRequest: trailing("/plain/upload", "X-Check, X-Token-Id", "X-Check: sum",
		"X-Token-Id: root"), want: passed("$C")},
	{id: "IDH-10 trailers, underscores, upload", wireRequest: trailing("/plain/upload", "X_Token_Name",
		"X_Token_Name: root"), want: passed("$C")},
	{id: "IDH-10 trailers, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		header: []string{"Trailer: X-Token-Name, X-Check"}, body: "x",
		trailer: []string{"X-Token-Name: root", "X-Check: sum"}}, want: untouched(200)},
	{id: "IDH-11 trailers not announced", wireRequest: trailing("/plain/write", "", "X-Token-Name: root"),
		want: passed("$C")},
	{id: "IDH-11 trailers not announced, upload", wireRequest: trailing("/plain/upload", "", "X-Token-Name: root"),
		want: passed("$C")},
	{id: "IDH-11 announced and not sent, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Trailer: X-Token-Name"), body: "x", chunked: true}, want: passed("$C")},
	{id: "IDH-12 framing in trailers", over: []string{"h1"},
		wireRequest: trailing("/plain/upload", "Content-Length, Host", "Content-Length: 5", "Host: evil"),
		want:        dropped(400)},
	{id: "IDH-12 credential in trailers alone", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: []string{"Trailer: X-Check"}, body: "x", trailer: []string{"X-Check: Bearer $C"}},
		want: refused(401, "missing_token")},
	{id: "IDH-13 identity in trailers", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/write", "", "x-token-name: root", "x_token_id: root"), want: passed("$C")},
	{id: "IDH-13 identity in trailers, upload", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", "x-token-name: root", "x_token_id: root"), want: passed("$C")},
	{id: "IDH-13 identity in trailers, untouched", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login", body: "x",
			trailer: []string{"x-token-name: root"}}, want: untouched(200)},
	{id: "IDH-13 credential in trailers", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/write", "", "authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h3": broken("$C", 400)}},
	{id: "IDH-13 credential in trailers, upload", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", "authorization: Bearer forged"), want: passed("$C"),
		otherwise: map[string][]verdict{"h3": abortedUpload}},
	{id: "IDH-13 pseudo header in trailers", over: []string{"h2", "h2c", "h3"},
		wireRequest: trailing("/plain/upload", "", ":path: /plain/read"), want: abortedUpload},
	{id: "IDH-14 many",
		wireRequest: spoofing(strings.Split(strings.Repeat("X-Token-Name: root\n", 100)+"X-Token-Name: root", "\n")...),
		want:        passed("$R")},
	// see checkIdentity
	{id: "IDH-07 placeholder in the name", wireRequest: get("/plain/read", by("$W", "Cookie: a=b")...),
		want: passed("$W")},
	{id: "IDH-15 odd name", wireRequest: get("/plain/read", by("$W", "X-Token-Name: root")...), want: passed("$W")},
	{id: "IDH-15 odd name at a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$W")}, want: passed("$W")},
}
