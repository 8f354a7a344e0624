package gate

import (
	"errors"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Store is what a gate asks about tokens; a *tokenstore.Store is one.
type Store interface {
	Authenticate(c token.Credential, now time.Time) (tokenstore.Match, error)
	TakeRate(m tokenstore.Match, now time.Time) token.Standing
	TakeQuota(m tokenstore.Match, now time.Time) (tokenstore.Reservation, token.Standing, error)
	// RateStanding and QuotaStanding take nothing.
	RateStanding(token tokenstore.Principal, now time.Time) token.Standing
	QuotaStanding(token tokenstore.Principal, now time.Time) (token.Standing, error)
}

// Authenticate finds the token that the Authorization values of a request
// present. It returns a refusal if that isn't a valid token of this kind. It is for callers
// that have no routes; a [Gate] makes the same checks with the path rule between them.
// The match is set as soon as the secret matched, also with a refusal.
func Authenticate(store Store, prefixes token.Prefixes, kind token.Kind, authorization []string,
	now time.Time) (tokenstore.Match, Refusal) {
	text, code := bearer(authorization)
	if code != "" {
		return tokenstore.Match{}, Refuse(code)
	}
	credential, err := prefixes.Parse(text)
	if err != nil {
		return tokenstore.Match{}, Refuse(MalformedToken)
	}
	return Present(store, credential, kind, now)
}

// Present makes the checks of [Authenticate] for a credential that was read before.
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

// refuseLookup returns the refusal of a token that the store doesn't give.
func refuseLookup(err error) Refusal {
	if errors.Is(err, tokenstore.ErrNotFound) {
		return Refuse(UnknownToken)
	}
	// Damaged and unavailable alike: a 401 would make clients discard a
	// token that may be valid.
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
		refusal.Detail = "This is an API key, and API keys do not call the admin API. Use an admin key."
	}
	return refusal
}

// RefuseStatus returns the refusal of a token that is in this state, or none if
// it is active.
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

// bearer returns the token of the Authorization values, or why there is none. The
// scheme is compared without regard to letter case (RFC 9110 section 11.1); the
// rest is RFC 6750 section 2.1, strictly: one line, one space, one token.
func bearer(values []string) (token string, code Code) {
	switch len(values) {
	case 0:
		return "", MissingToken
	case 1:
	default:
		// Programs differ in which of two lines they believe (CVE-2021-32777).
		return "", InvalidRequest
	}
	// Go trims the values of HTTP/1 but not those of HTTP/2 and HTTP/3, and a
	// credential must mean the same over each.
	value := values[0]
	if value != "" && (isBlank(value[0]) || isBlank(value[len(value)-1])) {
		value = strings.Trim(value, " \t")
	}
	const scheme = "bearer"
	if len(value) < len(scheme) || value[:len(scheme)] != "Bearer" && !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", MissingToken
	}
	rest := value[len(scheme):]
	if rest != "" && !isBlank(rest[0]) && rest[0] != ',' {
		return "", MissingToken // another scheme, such as "Bearer:"
	}
	token, ok := strings.CutPrefix(rest, " ")
	if !ok || !isToken68(token) {
		return "", InvalidRequest
	}
	return token, ""
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// HasBearer reports whether the Authorization values try to present a bearer token,
// well or badly.
func HasBearer(authorization []string) bool {
	_, code := bearer(authorization)
	return code != MissingToken
}

// isToken68 reports whether s is a b64token of RFC 6750: anything else is a broken
// header rather than a broken token.
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

// characters returns the set of the bytes of s.
func characters(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}

var _ Store = (*tokenstore.Store)(nil)
