package gate

// identityHeaders are headers in which gateways, authenticating proxies and load balancers
// tell a backend who the caller is and where the request comes from. A request with a token
// must not name a second caller: with a privileged upstream token, some of these headers make
// the backend act as another user (Impersonate-User, Sudo). The gate leaves them on requests
// without a token, where a gateway in front may have set them. Handlers that run after the
// gate can still set them.
//
// Most names that begin with X- are matched by the words that they contain; all others are
// listed. A backend may trust other headers too; use [Config.RequestHeaders] for such a
// backend.
//
// Credentials for the backend itself, such as X-Api-Key or Private-Token, are not in the list:
// a client can send only credentials that it already has.
var identityHeaders = newHeaderNames([]string{
	// The caller.
	"authenticated-user", "auth-user", "login", "proxy-user", "smuser", "user", "username", "userid", "userinfo",
	"x-email", "x-group", "x-subject",
	"eppn", "persistent-id", "targeted-id", // Shibboleth
	// Tokens that a proxy obtained for the user.
	"oidc-access-token", "x-access-token", "x-id-token", "x-jwt", "x-refresh-token",
	"x-scope-orgid", // Cortex, Loki, Mimir, Tempo
	// Impersonation, which a backend allows with privileged credentials.
	"act-as", "api-username", // Discourse
	"on-behalf-of", "run-as", "switch-user", "x-act-as", "x-on-behalf-of", "x-run-as",
	"sudo",                                                   // Gitea, Forgejo, GitLab
	"es-security-runas-user",                                 // Elasticsearch
	"x-doas",                                                 // Trino, Hadoop
	"x-original-authorization", "x-serverless-authorization", // moved from Authorization by a proxy
	// Client certificates that a proxy has verified.
	"client-cert", "client-cert-chain", // RFC 9440
	"x-arr-clientcert", // Azure
	// The client address. Caddy's proxy sends it in X-Forwarded-For and respects
	// trusted_proxies; a client could put any address in the following headers.
	"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "client-ip", "fastly-client-ip", "fly-client-ip",
	"forwarded", "forwarded-for",
	"forwarded-for-ip", "true-client-ip", "wl-proxy-client-ip", "proxy-client-ip", "x-client-ip",
	"x-cluster-client-ip",
	"x-forwarded", "x-host-ip",
	"x-originating-ip", "x-real-ip", "x-real-port", "x-remoteip",
}, []string{
	"cf-access-",        // Cloudflare Access
	"impersonate-",      // Kubernetes
	"iv-",               // IBM WebSEAL
	"mellon-",           // mod_auth_mellon
	"oam-",              // Oracle Access Manager
	"oidc-claim-",       // mod_auth_openidc
	"remote-",           // Authelia, CGI's REMOTE_USER
	"shib-",             // Shibboleth
	"sm-",               // SiteMinder
	"ssl-",              // nginx, Apache: client certificates
	"tailscale-",        // tailscale serve
	"teleport-",         // Teleport
	"x-amzn-mtls-",      // AWS load balancers: client certificates
	"x-amzn-oidc-",      // AWS load balancers
	"x-apigateway-api-", // Google API Gateway
	"x-appengine-",      // Google App Engine
	"x-authelia-",       // Authelia
	"x-authentik-",      // authentik
	"x-authz-",          // Envoy, Istio
	"x-azure-",          // Azure Front Door: client address
	"x-claim",           // X-Claims, X-Claim-Sub
	"x-client-cert",     // nginx, Kong
	"x-client-dn",       // nginx
	"x-client-verif",    // nginx
	"x-dex-",            // Dex
	"x-endpoint-api-",   // Google Cloud Endpoints
	"x-envoy-",          // Envoy: internal flag, peer, client address
	"x-ext-authz-",      // Envoy
	"x-forwarded-",      // X-Forwarded-User and similar; see except below
	"x-goog-",           // Google IAP
	"x-grafana-device-", // Grafana
	"x-hasura-",         // Hasura
	"x-identity",        // custom gateways
	"x-impersonate",     // custom gateways
	"x-jwt-",            // Istio, WSO2
	"x-kratos-",         // Ory
	"x-kubernetes-",     // Kubernetes
	"x-ldap-",           // nginx-ldap-auth
	"x-ms-client-",      // Azure App Service: X-Ms-Client-Principal
	"x-ms-token-",       // Azure App Service
	"x-oathkeeper-",     // Ory
	"x-oauth-",          // custom gateways
	"x-oidc-",           // APISIX, mod_auth_openidc
	"x-ory-",            // Ory
	"x-pomerium-",       // Pomerium
	"x-principal",       // custom gateways
	"x-proxy-",          // OpenSearch's X-Proxy-User and X-Proxy-Roles
	"x-remote-",         // Kubernetes' front proxy, nginx
	"x-replit-",         // Replit
	"x-saml-",           // SAML proxies
	"x-spiffe-",         // SPIFFE
	"x-ssl-",            // HAProxy, nginx: client certificates
	"x-tls-",            // HAProxy, nginx: client certificates
	"x-user",            // X-User, X-User-Id, X-Userinfo, X-Username; see except below
	"x-vouch-",          // Vouch Proxy
	"x-webauth-",        // Grafana and similar
	"x-zitadel-",        // Zitadel
},
	// Exceptions: X-Forwarded headers that describe the route rather than the caller. Caddy's
	// proxy sets the first three itself.
	"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	"x-forwarded-port", "x-forwarded-prefix", "x-forwarded-protocol", "x-forwarded-scheme", "x-forwarded-server",
	"x-forwarded-ssl",
	"x-user-agent", // gRPC-Web
	"x-user-language", "x-user-locale", "x-user-timezone",
).withWords(
	// Kong's X-Consumer-Id, oauth2-proxy's X-Auth-Request-Email, Trino's X-Trino-User,
	// GitLab's X-Gitlab-Sudo, and common names for the caller in custom gateways.
	"account", "admin", "auth", "authenticated", "caller", "consumer", "credential", "groups", "iap", "identity",
	"impersonate", "login", "principal", "role", "roles",
	"runas", "sso", "sudo", "userid", "userinfo", "username",
)
