package gate

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Code names why a request was refused. The set is closed; metrics use it.
type Code string

// The codes. docs/errors.md tells what each means.
const (
	MissingToken         Code = "missing_token"
	InvalidRequest       Code = "invalid_request"
	TokenInURL           Code = "token_in_url"
	MalformedToken       Code = "malformed_token"
	UnknownToken         Code = "unknown_token"
	WrongKind            Code = "wrong_kind"
	ExpiredToken         Code = "expired_token"
	NotYetValid          Code = "not_yet_valid"
	RevokedToken         Code = "revoked_token"
	DisabledToken        Code = "disabled_token"
	InsufficientScope    Code = "insufficient_scope"
	RouteNotAllowed      Code = "route_not_allowed"
	IPDenied             Code = "ip_denied"
	MethodNotAllowed     Code = "method_not_allowed"
	InvalidPath          Code = "invalid_path"
	RateLimited          Code = "rate_limited"
	QuotaExceeded        Code = "quota_exceeded"
	TooEarly             Code = "too_early"
	TooManyFailures      Code = "too_many_failures"
	InvalidRequestBody   Code = "invalid_request_body"
	BodyTooLarge         Code = "body_too_large"
	BodyTimeout          Code = "body_timeout"
	Overloaded           Code = "overloaded"
	StoreUnavailable     Code = "store_unavailable"
	AccountNotConfigured Code = "account_not_configured"
	UpstreamCredential   Code = "upstream_credential"
	BackendUnreachable   Code = "backend_unreachable"
	BackendBrokeOff      Code = "backend_broke_off"
	BackendIncomplete    Code = "backend_incomplete"
	BackendTimeout       Code = "backend_timeout"
	BackendRedirect      Code = "backend_redirect"
	BackendError         Code = "backend_error"
)

// challenge is what WWW-Authenticate says (RFC 6750 section 3).
type challenge uint8

const (
	noChallenge challenge = iota
	bareChallenge
	invalidRequestChallenge
	invalidTokenChallenge
	insufficientScopeChallenge
)

// rule is all there is to know of a code apart from the request at hand.
type rule struct {
	status    int
	challenge challenge
	title     string
	detail    string
}

// The details are also the error_description of the challenge, so they hold no
// quotes, backslashes or characters outside ASCII.
var rules = map[Code]rule{
	MissingToken: {http.StatusUnauthorized, bareChallenge, "Token missing",
		"Send the API key in the header 'Authorization: Bearer <key>'."},
	InvalidRequest: {http.StatusBadRequest, invalidRequestChallenge, "Invalid request",
		"Send exactly one header 'Authorization: Bearer <key>' with one space and nothing else in it."},
	TokenInURL: {http.StatusBadRequest, invalidRequestChallenge, "Token in the URL",
		"The URL holds an API key, and URLs are logged by many programs. Send it in the Authorization header, and replace it: others may have seen it."},
	MalformedToken: {http.StatusUnauthorized, invalidTokenChallenge, "Malformed token",
		"This is not an API key: it was cut, changed or is of another system. Compare it with the one you were given."},
	UnknownToken: {http.StatusUnauthorized, invalidTokenChallenge, "Unknown token",
		"This API key is not known here. It may have been deleted, or be of another installation."},
	WrongKind: {http.StatusForbidden, noChallenge, "Wrong kind of token",
		"This is an admin key, and admin keys do not call the backend. Use an API key."},
	ExpiredToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token expired",
		"This API key has expired. Ask for a new one."},
	NotYetValid: {http.StatusUnauthorized, invalidTokenChallenge, "Token not yet valid",
		"This API key is not valid yet."},
	RevokedToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token revoked",
		"This API key was revoked. Ask for a new one."},
	DisabledToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token disabled",
		"This API key is disabled. An admin can enable it again."},
	InsufficientScope: {http.StatusForbidden, insufficientScopeChallenge, "Insufficient scope",
		"This API key may not do that."},
	RouteNotAllowed: {http.StatusForbidden, noChallenge, "Route not allowed",
		"No API key opens this path. Check its spelling; paths are exact."},
	IPDenied: {http.StatusForbidden, noChallenge, "Address not allowed",
		"This API key may not be used from your address."},
	MethodNotAllowed: {http.StatusMethodNotAllowed, noChallenge, "Method not allowed",
		"This path has no such method: see the Allow header for those it has."},
	InvalidPath: {http.StatusBadRequest, noChallenge, "Path not canonical",
		"Write the path in its plain form: no empty, . or .. segments, no escapes of ASCII characters."},
	RateLimited: {http.StatusTooManyRequests, noChallenge, "Rate limit reached",
		"This API key makes too many requests. Wait as long as the Retry-After header says."},
	QuotaExceeded: {http.StatusTooManyRequests, noChallenge, "Quota used up",
		"This API key has used up its requests of this period. Wait as long as the Retry-After header says."},
	TooEarly: {http.StatusTooEarly, noChallenge, "Too early",
		"The request came before the TLS handshake was over, so others could repeat it. Send it again once the handshake is over."},
	TooManyFailures: {http.StatusTooManyRequests, noChallenge, "Too many failures",
		"Too many wrong tokens came from your address. A valid one is let through all the same; check yours, and wait before you try another."},
	InvalidRequestBody: {http.StatusBadRequest, noChallenge, "Invalid request body",
		"The request's body is not what this path takes."},
	BodyTooLarge: {http.StatusRequestEntityTooLarge, noChallenge, "Body too large",
		"The request's body is larger than this route takes."},
	BodyTimeout: {http.StatusRequestTimeout, noChallenge, "Body timeout",
		"The request's body did not arrive in time. Send it again, faster or in smaller parts."},
	Overloaded: {http.StatusServiceUnavailable, noChallenge, "Gateway overloaded",
		"The gateway holds too many request bodies in memory. Try again after the time in the Retry-After header."},
	StoreUnavailable: {http.StatusServiceUnavailable, noChallenge, "Token store unavailable",
		"API keys can't be checked at the moment. Keep your key and try again."},
	AccountNotConfigured: {http.StatusBadGateway, noChallenge, "Account not configured",
		"The account this API key acts for is no longer configured. Tell the operator."},
	UpstreamCredential: {http.StatusBadGateway, noChallenge, "Gateway credential refused",
		"The backend refused the gateway's own credential. Your API key is fine. Tell the operator."},
	BackendUnreachable: {http.StatusBadGateway, noChallenge, "Backend unreachable",
		"The backend can't be reached. Try again later."},
	BackendBrokeOff: {http.StatusBadGateway, noChallenge, "Backend broke off",
		"The backend closed the connection before it answered. It may have done what was asked for, or have failed at it: look before you send this again."},
	BackendIncomplete: {http.StatusBadGateway, noChallenge, "Backend sent nothing",
		"The backend began a download and sent nothing. The block device may be in use by a unikernel, or not exist; the backend does not say which."},
	BackendTimeout: {http.StatusGatewayTimeout, noChallenge, "Backend timeout",
		"The backend did not answer in time. What was asked for may have happened all the same."},
	BackendRedirect: {http.StatusBadRequest, noChallenge, "Backend redirect",
		"The backend answered with a redirect to a page instead of an answer. Usually a query parameter is missing, such as 'instance'."},
	BackendError: {http.StatusBadGateway, noChallenge, "Backend error", "The backend answered with an error page."},
}

// Codes returns every code there is, sorted.
func Codes() []Code {
	return slices.Sorted(maps.Keys(rules))
}

// Refusal is why a request isn't let through, or its answer not handed on. The
// zero Refusal is none.
type Refusal struct {
	Code Code
	// Status is the code's, except for BackendError.
	Status int
	// Token is set if the secret matched.
	Token tokenstore.Principal
	// Scope is the missing one.
	Scope string
	// ClientIP is the address as the gate saw it; set for IPDenied only.
	ClientIP netip.Addr
	// Allow is the methods that a path has; empty if it has none. It is said for
	// MethodNotAllowed only.
	Allow string
	// RetryAfter is in seconds; 0 is not said.
	RetryAfter int
	// Limits is what is left of the token's limits, as far as the request came to them.
	Limits Limits
	// Detail replaces the code's, if set.
	Detail string
	// BackendCode names what the backend says, for BackendError only; empty is not said.
	BackendCode string
	// Err is what went wrong, for the log only.
	Err error

	forbiddenMethod bool
}

// In seconds.
const (
	storeRetryAfter    = 5
	overloadRetryAfter = 5
)

// Refuse returns the refusal of a code with no more to say. Set Token if the
// secret matched.
func Refuse(code Code) Refusal {
	r := Refusal{Code: code, Status: rules[code].status}
	switch code {
	case StoreUnavailable:
		r.RetryAfter = storeRetryAfter
	case Overloaded:
		r.RetryAfter = overloadRetryAfter
	}
	return r
}

// Final reports whether only the gate may answer the request: neither a URL with a
// token in it nor a forbidden method may reach a backend, such as that of an error route.
func (r *Refusal) Final() bool { return r.Code == TokenInURL || r.forbiddenMethod }

func refuseMethod(allow string) Refusal {
	r := Refuse(MethodNotAllowed)
	r.Allow = allow
	return r
}

// Problem returns the refusal's body.
func (r Refusal) Problem() problem.Problem {
	p := problem.Problem{Status: r.Status, Code: string(r.Code), Title: rules[r.Code].title, Detail: r.detail()}
	if r.Token.Known() {
		p = p.With("token_id", r.Token.ID.String())
	}
	switch {
	case r.Code == ExpiredToken && r.Token.Known():
		p = p.With("expired_at", shown(r.Token.ExpiresAt))
	case r.Code == NotYetValid && r.Token.Known():
		p = p.With("not_before", shown(r.Token.NotBefore))
	case r.Code == InsufficientScope:
		p = p.With("required_scope", r.Scope)
	case r.Code == IPDenied:
		p = p.With("client_ip", r.clientIP())
	case r.BackendCode != "":
		p = p.With("backend_code", r.BackendCode)
	}
	return p
}

// detail is the code's own text, or one that knows the request.
func (r Refusal) detail() string {
	switch {
	case r.Detail != "":
		return r.Detail
	case r.Code == InsufficientScope:
		return "This API key lacks the scope " + r.Scope + "."
	case r.Code == IPDenied:
		if !r.ClientIP.IsValid() {
			return "This API key may be used from some addresses only, and this client has none."
		}
		return "This API key may not be used from the address " + AddressText(r.ClientIP) + "."
	case r.Code == ExpiredToken && r.Token.Known():
		return "This API key expired at " + shown(r.Token.ExpiresAt) + ". Ask for a new one."
	case r.Code == NotYetValid && r.Token.Known():
		return "This API key is not valid before " + shown(r.Token.NotBefore) + "."
	case r.Code == RateLimited && r.Token.Known():
		limit := r.Token.RateLimit
		return fmt.Sprintf("This API key may make %d requests in %s. It may make the next one in %d s.", limit.Requests,
			token.FormatWindow(limit.Window), r.RetryAfter)
	case r.Code == QuotaExceeded && r.Token.Known():
		quota := r.Token.Quota
		return fmt.Sprintf(
			"This API key has used up its %d requests of this %s, in UTC. It may make the next one in %d s.",
			quota.Requests, quota.Period, r.RetryAfter)
	}
	return rules[r.Code].detail
}

// clientIP is the member: null if the client has no address.
func (r Refusal) clientIP() any {
	if !r.ClientIP.IsValid() {
		return nil
	}
	return AddressText(r.ClientIP)
}

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Headers calls set for each header that goes with the refusal. The values
// replace those already there.
func (r Refusal) Headers(realm string, set func(name, value string)) {
	if text := r.challenge(realm); text != "" {
		set("Www-Authenticate", text)
	}
	if r.Code == MethodNotAllowed {
		set("Allow", r.Allow) // also empty: RFC 9110 sections 10.2.1 and 15.5.6
	}
	if r.RetryAfter > 0 {
		set("Retry-After", strconv.Itoa(r.RetryAfter))
	}
	r.Limits.Headers(set)
	if r.Status == http.StatusUnauthorized {
		set("Vary", "Authorization") // for caches that store it despite no-store
	}
	set("Cache-Control", "no-store")
}

// challenge returns what WWW-Authenticate says; empty is nothing.
func (r Refusal) challenge(realm string) string {
	kind := rules[r.Code].challenge
	if kind == noChallenge {
		return ""
	}
	var room [256]byte
	b := appendQuoted(append(room[:0], "Bearer realm="...), realm)
	switch kind {
	case noChallenge, bareChallenge:
	case invalidRequestChallenge:
		b = appendQuoted(append(b, `, error="invalid_request", error_description=`...), r.detail())
	case invalidTokenChallenge:
		b = appendQuoted(append(b, `, error="invalid_token", error_description=`...), r.detail())
	case insufficientScopeChallenge:
		b = appendQuoted(append(b, `, error="insufficient_scope", scope=`...), r.Scope)
	}
	return string(b)
}

// appendQuoted appends a quoted-string (RFC 9110 section 5.6.4) without what a header
// can't hold.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c != 0x7f:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
