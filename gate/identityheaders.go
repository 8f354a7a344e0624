package gate

// foreignIdentity headers are those in which gateways, authenticating proxies and load
// balancers tell a backend who calls, and from where. A request that acts for a token
// must not name another caller next to it: with a privileged upstream token some of
// these switch the user (Impersonate-User, Sudo). They are left on requests without a
// token, where a gateway in front may have set them, and handlers after the gate can
// set them.
//
// Names that begin with X- are found by the words in them, others one by one. A backend can
// believe any other header. For such a backend there is [Config.RequestHeaders].
//
// Credentials of a backend's own, such as X-Api-Key or Private-Token, are not in it:
// a client can only send those it has.
var foreignIdentity = newHeaderNames([]string{
	// Who calls, in one word.
	"authenticated-user", "auth-user", "login", "proxy-user", "smuser", "user", "username", "userid", "userinfo",
	"x-email", "x-group", "x-subject",
	"eppn", "persistent-id", "targeted-id", // Shibboleth
	// tokens that a proxy got for the user
	"oidc-access-token", "x-access-token", "x-id-token", "x-jwt", "x-refresh-token",
	"x-scope-orgid", // Cortex, Loki, Mimir, Tempo
	// Acting as somebody else, which a backend allows to privileged credentials.
	"act-as", "api-username", // Discourse
	"on-behalf-of", "run-as", "switch-user", "x-act-as", "x-on-behalf-of", "x-run-as", "sudo", // Gitea, Forgejo, GitLab
	"es-security-runas-user",                                 // Elasticsearch
	"x-doas",                                                 // Trino, Hadoop
	"x-original-authorization", "x-serverless-authorization", // what a proxy took out of Authorization
	// Certificates that a proxy has checked.
	"client-cert", "client-cert-chain", // RFC 9440
	"x-arr-clientcert", // Azure
	// The client's address. Caddy's proxy tells it in X-Forwarded-For, by
	// trusted_proxies; in these it would be the client's word.
	"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "client-ip", "fastly-client-ip", "fly-client-ip",
	"forwarded", "forwarded-for",
	"forwarded-for-ip", "true-client-ip", "wl-proxy-client-ip", "proxy-client-ip", "x-client-ip", "x-cluster-client-ip",
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
	"x-azure-",          // Azure Front Door: address
	"x-claim",           // X-Claims, X-Claim-Sub
	"x-client-cert",     // nginx, Kong
	"x-client-dn",       // nginx
	"x-client-verif",    // nginx
	"x-dex-",            // Dex
	"x-endpoint-api-",   // Google Cloud Endpoints
	"x-envoy-",          // Envoy: internal, peer, address
	"x-ext-authz-",      // Envoy
	"x-forwarded-",      // X-Forwarded-User and the like; see below
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
	"x-user",            // X-User, X-User-Id, X-Userinfo, X-Username; see below
	"x-vouch-",          // Vouch Proxy
	"x-webauth-",        // Grafana and its kin
	"x-zitadel-",        // Zitadel
},
	// What an X-Forwarded header says of the way, not of who went it. Caddy's proxy
	// sets the first three itself.
	"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	"x-forwarded-port", "x-forwarded-prefix", "x-forwarded-protocol", "x-forwarded-scheme", "x-forwarded-server",
	"x-forwarded-ssl",
	"x-user-agent", // gRPC-Web
	"x-user-language", "x-user-locale", "x-user-timezone",
).withWords(
	// Kong's X-Consumer-Id, oauth2-proxy's X-Auth-Request-Email, Trino's X-Trino-User,
	// GitLab's X-Gitlab-Sudo, and what custom gateways call the caller.
	"account", "admin", "auth", "authenticated", "caller", "consumer", "credential", "groups", "iap", "identity",
	"impersonate", "login", "principal", "role", "roles",
	"runas", "sso", "sudo", "userid", "userinfo", "username",
)
