package gate

import (
	"errors"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Store looks up tokens and counts their requests; *tokenstore.Store implements it.
type Store interface {
	// InUse reports whether a token with this digest is in memory. It reads only memory.
	InUse(digest token.Digest) bool
	Authenticate(c token.Credential, now time.Time) (tokenstore.Match, error)
	TakeRate(m tokenstore.Match, now time.Time) token.Standing
	TakeQuota(m tokenstore.Match, now time.Time) (tokenstore.Reservation, token.Standing, error)
	// RateStanding and QuotaStanding report a token's standing without counting a request.
	RateStanding(token tokenstore.Principal, now time.Time) token.Standing
	QuotaStanding(token tokenstore.Principal, now time.Time) (token.Standing, error)
}

// Authenticate finds the token presented in a request's Authorization values. It returns a
// refusal unless the values contain a valid token of this kind. It is for callers without
// routes; a [Gate] runs the same checks and, in between, also checks the path. The match is
// set if the secret matched, even if the token is refused.
func Authenticate(store Store, prefixes token.Prefixes, kind token.Kind, authorization []string,
	now time.Time) (tokenstore.Match, Refusal) {
	credential, refusal := ParseBearer(prefixes, authorization)
	if refusal.Code != "" {
		return tokenstore.Match{}, refusal
	}
	return Present(store, credential, kind, now)
}

// ParseBearer returns the bearer token in an Authorization header. It doesn't check whether the
// token exists.
func ParseBearer(prefixes token.Prefixes, authorization []string) (token.Credential, Refusal) {
	credential, code := presented(nil, prefixes, authorization)
	if code != "" {
		return token.Credential{}, Refuse(code)
	}
	return credential, Refusal{}
}

// presented returns the token in the Authorization values, or the code of a refusal:
// MissingToken, InvalidRequest or MalformedToken. It skips the checksum of a token in use, because
// the digest already proves that the text is right. The store may be nil.
func presented(store Store, prefixes token.Prefixes, authorization []string) (token.Credential, Code) {
	text, code := bearerText(authorization)
	if code != "" {
		return token.Credential{}, code
	}
	credential, err := prefixes.ParseUnchecked(text)
	if err == nil && (store != nil && store.InUse(credential.Digest) || credential.Check(text)) {
		return credential, "" // all tokens are well-formed
	}
	if !isToken68(text) {
		return token.Credential{}, InvalidRequest
	}
	return token.Credential{}, MalformedToken
}

// Present runs the same checks as [Authenticate] for a credential that has already been
// parsed.
func Present(store Store, credential token.Credential, kind token.Kind, now time.Time) (tokenstore.Match, Refusal) {
	match, err := store.Authenticate(credential, now)
	if err != nil {
		return tokenstore.Match{}, refuseLookup(err)
	}
	refusal := refuseKind(match.Token.Kind, kind)
	if refusal.Code == "" {
		refusal = RefuseStatus(match.Status)
	}
	if refusal.Code != "" {
		refusal.Token = match.Token
	}
	return match, refusal
}

// refuseLookup returns the refusal for an error from Store.Authenticate.
func refuseLookup(err error) Refusal {
	if errors.Is(err, tokenstore.ErrNotFound) {
		return Refuse(UnknownToken)
	}
	// A damaged record is treated like an unavailable store, because a 401 would make clients
	// discard a token that may be valid.
	refusal := Refuse(StoreUnavailable)
	refusal.Err = err
	return refusal
}

func refuseKind(kind, wanted token.Kind) Refusal {
	if kind == wanted {
		return Refusal{}
	}
	refusal := Refuse(WrongKind)
	if wanted == token.KindAdmin {
		refusal.Detail = "This is an API key, which can't call the admin API. Use an admin key."
	}
	return refusal
}

// RefuseStatus returns the refusal for a token with this status, or none if the token is
// active.
func RefuseStatus(status token.Status) Refusal {
	switch status {
	case token.StatusActive:
		return Refusal{}
	case token.StatusRevoked:
		return Refuse(RevokedToken)
	case token.StatusDisabled:
		return Refuse(DisabledToken)
	case token.StatusNotYetValid:
		return Refuse(NotYetValid)
	case token.StatusExpired:
		return Refuse(ExpiredToken)
	}
	return Refuse(StoreUnavailable)
}

// bearerText returns what should be the token in the Authorization values, or the code of a
// refusal. It compares the scheme case-insensitively (RFC 9110 section 11.1) and otherwise
// follows RFC 6750 section 2.1 strictly: one header line, one space, one token. The caller must
// check that the text is a token.
func bearerText(values []string) (text string, code Code) {
	switch len(values) {
	case 0:
		return "", MissingToken
	case 1:
	default:
		// Programs differ in which of two lines they use (CVE-2021-32777).
		return "", InvalidRequest
	}
	// Go trims header values of HTTP/1 but not of HTTP/2 and HTTP/3, and a credential must
	// mean the same over every version.
	value := values[0]
	if value != "" && (isBlank(value[0]) || isBlank(value[len(value)-1])) {
		value = strings.Trim(value, " \t")
	}
	const scheme = "bearer"
	if len(value) < len(scheme) ||
		value[:len(scheme)] != "Bearer" && !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", MissingToken
	}
	rest := value[len(scheme):]
	if rest != "" && !isBlank(rest[0]) && rest[0] != ',' {
		return "", MissingToken // another scheme, such as "Bearer:"
	}
	text, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return "", InvalidRequest
	}
	return text, ""
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// HasBearer reports whether the Authorization values contain a bearer token, well-formed or
// not.
func HasBearer(authorization []string) bool {
	_, code := bearerText(authorization)
	return code != MissingToken
}

// isToken68 reports whether s is a b64token as defined in RFC 6750. Anything else makes the
// header invalid rather than the token.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !token68[s[i]] {
			return false
		}
	}
	return s != ""
}

var token68 = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")

// characters returns the set of bytes in s.
func characters(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}

var _ Store = (*tokenstore.Store)(nil)
