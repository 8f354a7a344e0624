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

// Code is the reason for a refusal. The set of codes is fixed because metrics use codes as
// labels.
type Code string

// docs/errors.md explains the codes.
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
	ResourceNotAllowed   Code = "resource_not_allowed"
	RouteNotAllowed      Code = "route_not_allowed"
	IPDenied             Code = "ip_denied"
	MethodNotAllowed     Code = "method_not_allowed"
	InvalidPath          Code = "invalid_path"
	RateLimited          Code = "rate_limited"
	QuotaExceeded        Code = "quota_exceeded"
	TooEarly             Code = "too_early"
	TooManyFailures      Code = "too_many_failures"
	InvalidRequestBody   Code = "invalid_request_body"
	AmbiguousTarget      Code = "ambiguous_target"
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

// challenge is the kind of WWW-Authenticate challenge (RFC 6750 section 3).
type challenge uint8

const (
	noChallenge challenge = iota
	bareChallenge
	invalidRequestChallenge
	invalidTokenChallenge
	insufficientScopeChallenge
)

// rule holds what all refusals with the same code have in common.
type rule struct {
	status    int
	challenge challenge
	title     string
	detail    string
}

// A detail is also the error_description of the challenge, so it must not contain quotes,
// backslashes or non-ASCII characters.
var rules = map[Code]rule{
	MissingToken: {http.StatusUnauthorized, bareChallenge, "Token missing",
		"Send the API key in the header 'Authorization: Bearer <key>'."},
	InvalidRequest: {http.StatusBadRequest, invalidRequestChallenge, "Invalid request",
		"Send exactly one header 'Authorization: Bearer <key>', with one space and nothing after the key."},
	TokenInURL: {http.StatusBadRequest, invalidRequestChallenge, "Token in the URL",
		"The URL contains an API key, and many programs log URLs. " +
			"Send the key in the Authorization header, and replace it: others may have seen it."},
	MalformedToken: {http.StatusUnauthorized, invalidTokenChallenge, "Malformed token",
		"This is not a valid API key. Check that you copied all of it."},
	UnknownToken: {http.StatusUnauthorized, invalidTokenChallenge, "Unknown token",
		"This API key is unknown here. It may have been deleted or replaced, or it belongs to another installation."},
	WrongKind: {http.StatusForbidden, noChallenge, "Wrong kind of token",
		"This is an admin key, which can't call the backend. Use an API key."},
	ExpiredToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token expired",
		"This API key has expired. Ask for a new one."},
	NotYetValid: {http.StatusUnauthorized, invalidTokenChallenge, "Token not yet valid",
		"This API key is not valid yet."},
	RevokedToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token revoked",
		"This API key has been revoked. Ask for a new one."},
	DisabledToken: {http.StatusUnauthorized, invalidTokenChallenge, "Token disabled",
		"This API key is disabled. An admin can enable it again."},
	InsufficientScope: {http.StatusForbidden, insufficientScopeChallenge, "Insufficient scope",
		"This API key lacks a scope that the request requires."},
	ResourceNotAllowed: {http.StatusForbidden, noChallenge, "Resource not allowed",
		"This API key may act only on certain resources, and the request acts on others."},
	RouteNotAllowed: {http.StatusForbidden, noChallenge, "Route not allowed",
		"API keys can't be used on this path. Check its spelling: paths must match exactly."},
	IPDenied: {http.StatusForbidden, noChallenge, "Address not allowed",
		"This API key may not be used from your address."},
	MethodNotAllowed: {http.StatusMethodNotAllowed, noChallenge, "Method not allowed",
		"This path doesn't support the method. The Allow header lists the methods it supports."},
	InvalidPath: {http.StatusBadRequest, noChallenge, "Path not canonical",
		"Write the path in canonical form: without empty, . or .. segments and without escaped ASCII characters."},
	RateLimited: {http.StatusTooManyRequests, noChallenge, "Rate limit reached",
		"This API key is making too many requests. Wait for the number of seconds in the Retry-After header."},
	QuotaExceeded: {http.StatusTooManyRequests, noChallenge, "Quota used up",
		"This API key has used all of its requests for this period. " +
			"Wait for the number of seconds in the Retry-After header."},
	TooEarly: {http.StatusTooEarly, noChallenge, "Too early",
		"The request arrived before the TLS handshake was complete, so an attacker could replay it. " +
			"Send it again after the handshake."},
	TooManyFailures: {http.StatusTooManyRequests, noChallenge, "Too many failures",
		"Too many invalid API keys came from your address. " +
			"Valid keys still work: check yours, and wait before you try another."},
	InvalidRequestBody: {http.StatusBadRequest, noChallenge, "Invalid request body",
		"The request body is not valid for this path."},
	AmbiguousTarget: {http.StatusBadRequest, noChallenge, "Ambiguous target",
		"The gate can't tell which resources the request acts on, and this API key may act only on some."},
	BodyTooLarge: {http.StatusRequestEntityTooLarge, noChallenge, "Body too large",
		"The request body is larger than this route accepts."},
	BodyTimeout: {http.StatusRequestTimeout, noChallenge, "Body timeout",
		"The request body did not arrive in time. Send it again, faster or in smaller parts."},
	Overloaded: {http.StatusServiceUnavailable, noChallenge, "Gateway overloaded",
		"The gateway is buffering too many request bodies. " +
			"Try again after the number of seconds in the Retry-After header."},
	StoreUnavailable: {http.StatusServiceUnavailable, noChallenge, "Token store unavailable",
		"API keys can't be checked at the moment. Keep your key and try again."},
	AccountNotConfigured: {http.StatusBadGateway, noChallenge, "Account not configured",
		"This API key's account is no longer configured. Contact the operator."},
	UpstreamCredential: {http.StatusBadGateway, noChallenge, "Gateway credential refused",
		"The backend refused the gateway's own credential. Your API key is fine. Contact the operator."},
	BackendUnreachable: {http.StatusBadGateway, noChallenge, "Backend unreachable",
		"The backend can't be reached. Try again later."},
	BackendBrokeOff: {http.StatusBadGateway, noChallenge, "Backend closed the connection",
		"The backend closed the connection before it responded. " +
			"It may or may not have carried out the request: check before you send it again."},
	BackendIncomplete: {http.StatusBadGateway, noChallenge, "Backend sent nothing",
		"The backend started a download but sent no data. " +
			"The block device may be in use by a unikernel, or not exist; the backend does not say which."},
	BackendTimeout: {http.StatusGatewayTimeout, noChallenge, "Backend timeout",
		"The backend did not respond in time. It may still have carried out the request."},
	BackendRedirect: {http.StatusBadRequest, noChallenge, "Backend redirect",
		"The backend redirected the request to a page. " +
			"Usually a query parameter is missing, such as 'instance'."},
	BackendError: {http.StatusBadGateway, noChallenge, "Backend error", "The backend sent an error page."},
}

// Codes returns all codes, sorted.
func Codes() []Code {
	return slices.Sorted(maps.Keys(rules))
}

// Refusal describes why the gate refuses a request or withholds its response. The zero Refusal
// means that nothing is refused.
type Refusal struct {
	Code Code
	// Status is the code's HTTP status. BackendError may have any error status.
	Status int
	// Token is the presented token if its secret matched.
	Token tokenstore.Principal
	// Scope is the missing scope.
	Scope string
	// Resource is the resource that the token may not act on, as "type/name", or "" if the request
	// names none; set for ResourceNotAllowed only.
	Resource string
	// ClientIP is the client address that the gate saw; set for IPDenied only.
	ClientIP netip.Addr
	// Allow lists the methods that the path supports; it may be empty. It is used for
	// MethodNotAllowed only.
	Allow string
	// RetryAfter is the value of the Retry-After header in seconds; 0 omits the header.
	RetryAfter int
	// Limits is the standing of the token's limits, or nil if the token has none or the checks
	// didn't get that far.
	Limits *Limits
	// Detail, if set, replaces the code's detail.
	Detail string
	// BackendCode identifies what the backend's text means, for BackendError only; empty if
	// unknown.
	BackendCode string
	// Err is the underlying error, for the log only.
	Err error

	forbiddenMethod bool
}

// Values of the Retry-After header, in seconds.
const (
	storeRetryAfter    = 5
	overloadRetryAfter = 5
)

// Refuse returns the refusal for a code, without details about the request. The caller must
// set Token if the secret matched.
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

// Final reports whether only the gate may respond to the request. Requests with a token in the
// URL or with a forbidden method must not reach any backend, not even through an error route.
func (r *Refusal) Final() bool { return r.Code == TokenInURL || r.forbiddenMethod }

func refuseMethod(allow string) Refusal {
	r := Refuse(MethodNotAllowed)
	r.Allow = allow
	return r
}

// Problem returns the response body.
func (r Refusal) Problem() problem.Problem {
	p := problem.Problem{Status: r.Status, Code: string(r.Code), Title: rules[r.Code].title, Detail: r.detail()}
	if r.Token.Known() {
		p = p.With("token_id", r.Token.ID.String())
	}
	switch {
	case r.Code == ExpiredToken && r.Token.Known():
		p = p.With("expired_at", formatTime(r.Token.ExpiresAt()))
	case r.Code == NotYetValid && r.Token.Known():
		p = p.With("not_before", formatTime(r.Token.NotBefore()))
	case r.Code == InsufficientScope:
		p = p.With("required_scope", r.Scope)
	case r.Code == ResourceNotAllowed:
		p = p.With("resource", r.resource())
	case r.Code == IPDenied:
		p = p.With("client_ip", r.clientIP())
	case r.BackendCode != "":
		p = p.With("backend_code", r.BackendCode)
	}
	return p
}

// detail returns a detail specific to the request or, if there is none, the code's detail.
func (r Refusal) detail() string {
	switch {
	case r.Detail != "":
		return r.Detail
	case r.Code == InsufficientScope:
		return "This API key lacks the scope " + r.Scope + "."
	case r.Code == IPDenied:
		if !r.ClientIP.IsValid() {
			return "This API key is restricted to certain addresses, and this client has none."
		}
		return "This API key may not be used from the address " + AddressText(r.ClientIP) + "."
	case r.Code == ExpiredToken && r.Token.Known():
		return "This API key expired at " + formatTime(r.Token.ExpiresAt()) + ". Ask for a new one."
	case r.Code == NotYetValid && r.Token.Known():
		return "This API key is not valid before " + formatTime(r.Token.NotBefore()) + "."
	case r.Code == RateLimited && r.Token.Known():
		limit := r.Token.RateLimit
		return fmt.Sprintf("This API key may make %d requests per %s. Try again in %d s.", limit.Requests,
			token.FormatWindow(limit.Window), r.RetryAfter)
	case r.Code == QuotaExceeded && r.Token.Known():
		quota := r.Token.Quota
		return fmt.Sprintf(
			"This API key has used all of its %d requests for this %s (UTC). Try again in %d s.",
			quota.Requests, quota.Period, r.RetryAfter)
	}
	return rules[r.Code].detail
}

// resource returns the value of the resource member: null if the request names none.
func (r Refusal) resource() any {
	if r.Resource == "" {
		return nil
	}
	return r.Resource
}

// clientIP returns the value of the client_ip member: null if the client has no address.
func (r Refusal) clientIP() any {
	if !r.ClientIP.IsValid() {
		return nil
	}
	return AddressText(r.ClientIP)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// SetHeaders sets the refusal's headers. The values replace any existing ones.
func (r Refusal) SetHeaders(realm string, h http.Header) {
	values := make([]string, 0, 5) // a single allocation
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if text := r.challenge(realm); text != "" {
		set("Www-Authenticate", text)
	}
	if r.Code == MethodNotAllowed {
		set("Allow", r.Allow) // even if empty: RFC 9110 sections 10.2.1 and 15.5.6
	}
	if r.RetryAfter > 0 {
		set("Retry-After", strconv.Itoa(r.RetryAfter))
	}
	if r.Status == http.StatusUnauthorized {
		set("Vary", "Authorization") // for caches that ignore no-store
	}
	set("Cache-Control", "no-store")
	r.Limits.SetHeaders(h)
}

// challenge returns the value of WWW-Authenticate, or "".
func (r Refusal) challenge(realm string) string {
	kind := rules[r.Code].challenge
	if kind == noChallenge {
		return ""
	}
	var buf [256]byte
	b := appendQuoted(append(buf[:0], "Bearer realm="...), realm)
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

// appendQuoted appends s as a quoted-string (RFC 9110 section 5.6.4) and omits characters that
// a header can't contain.
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
