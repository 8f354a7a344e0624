package gate

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// framingHeaders say where a message ends and what its trailers may be. Naming
// them in Connection has no effect.
var framingHeaders = map[string]bool{
	"Content-Length":    true,
	"Transfer-Encoding": true,
	"Host":              true,
	"Te":                true,
	"Trailer":           true,
}

// vouched are headers that a proxy in front of Caddy sets, with those of
// [foreignIdentity]. A client that names one in Connection wants it to be deleted after
// the proxy has vouched for it; the proxy should have done that itself (RFC 9110
// section 7.6.1).
var vouched = newHeaderNames([]string{"early-data", "via"}, []string{"x-forwarded-"})

// TakeHeaders returns the Authorization values of a request and cleans its
// headers in place: neither the credential nor anything that could pass for an
// identity of ours is left, and Connection has been resolved, so that a proxy
// after the gate can't be made to delete what the gate sets. upgrade is the
// protocol the client would like to switch to, if it is a websocket.
//
// It must be called on the original request before anything else, so that error
// routes, placeholders and logs can't show the credential either.
func TakeHeaders(h http.Header) (authorization []string, upgrade string) {
	var connection, protocols []string
	for name, values := range h {
		switch name {
		case "Authorization":
			authorization = values
		case "Connection":
			connection = values
		case "Upgrade":
			protocols = values
		case "Trailer", "Http2-Settings":
		default:
			if !overriding.contain(name) {
				continue
			}
		}
		delete(h, name)
	}
	if len(connection) > 0 {
		if httpguts.HeaderValuesContainsToken(connection, "Upgrade") && len(protocols) == 1 &&
			strings.EqualFold(protocols[0], "websocket") {
			upgrade = "websocket"
		}
		dropNominated(h, connection)
	}
	return authorization, upgrade
}

// dropNominated deletes the fields that Connection names (RFC 9110 section
// 7.6.1), but for those that a client can't have meant.
func dropNominated(h http.Header, connection []string) {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			if name != "" && !framingHeaders[name] && !vouched.contain(name) && !foreignIdentity.contain(name) {
				delete(h, name)
			}
		}
	}
}

// DropTokens deletes the headers that hold a token, after [TakeHeaders] has taken
// the one where it belongs, and returns their names. Of cookies only those that
// hold one are dropped.
func DropTokens(h http.Header, prefixes token.Prefixes) (names []string) {
	for name, values := range h {
		for _, value := range values {
			if !tokenInText(prefixes, value) {
				continue
			}
			names = append(names, name)
			if name == "Cookie" {
				dropCookies(h, func(pair string) bool { return tokenInText(prefixes, pair) })
			} else {
				delete(h, name)
			}
			break
		}
	}
	slices.Sort(names)
	return names
}

// Forward returns the headers that go upstream: a copy of those that [TakeHeaders]
// has cleaned, without what the backend must not see of the client, and with what it
// needs to know of the token. authorization is the account's; empty sends none. The
// copied values are put into the room behind values, as far as there is any.
func (g *Gate) Forward(h http.Header, token *tokenstore.Principal, authorization string, values []string) http.Header {
	const ours = 4
	out := make(http.Header, len(h)+ours)
	set := func(name, value string) {
		values = append(values, value)
		out[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for name, lines := range h {
		if !g.passes(name) {
			continue
		}
		if lines == nil { // for the proxy that is another thing than no lines
			out[name] = nil
			continue
		}
		values = append(values, lines...)
		out[name] = values[len(values)-len(lines) : len(values) : len(values)]
	}
	if authorization != "" {
		set("Authorization", authorization)
	}
	set("X-Token-Id", token.ID.String())
	set("X-Token-Name", headerText(token.Name()))
	set("X-Token-Account", headerText(token.Account))
	return out
}

// passes reports whether a client's header is handed on with a token.
func (g *Gate) passes(name string) bool {
	if g.allowed != nil && !g.allowed[name] {
		return false
	}
	return ordinary[name] || !clientsOwn.contain(name) && !foreignIdentity.contain(name)
}

// ordinary are headers that many clients send and that are in none of the lists, which
// take longer to search.
var ordinary = map[string]bool{
	"Accept": true, "Accept-Language": true, "Cache-Control": true, "Content-Length": true, "Content-Type": true,
	"If-Match": true, "If-Modified-Since": true,
	"If-None-Match": true, "Origin": true, "Pragma": true, "Priority": true, "Range": true, "Referer": true,
	"Sec-Ch-Ua": true, "Sec-Ch-Ua-Mobile": true,
	"Sec-Ch-Ua-Platform": true, "Sec-Fetch-Dest": true, "Sec-Fetch-Mode": true, "Sec-Fetch-Site": true, "Te": true,
	"Traceparent": true, "Tracestate": true,
	"User-Agent": true, "Via": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true,
	"X-Request-Id": true, "X-Requested-With": true,
}

// clientsOwn are headers that end at the gate.
var clientsOwn = newHeaderNames([]string{
	"authorization",
	"cookie",
	"cookie2",
	"proxy-authorization",
	"accept-encoding", // an error answer must be readable
	"expect",          // answered here
	"trailer",
}, nil)

// SetUpgrade sets the headers that ask for the protocol of [Decision.Upgrade], if
// there is one.
func SetUpgrade(h http.Header, protocol string) {
	if protocol != "" {
		h["Connection"] = []string{"Upgrade"}
		h["Upgrade"] = []string{protocol}
	}
}

// headerText returns a text for a header: percent-encoded where it isn't
// printable ASCII, and "%" itself.
func headerText(s string) string {
	plain := func(c byte) bool { return c >= ' ' && c <= '~' && c != '%' }
	escapes := 0
	for i := range len(s) {
		if !plain(s[i]) {
			escapes++
		}
	}
	if escapes == 0 {
		return s
	}
	text := make([]byte, 0, len(s)+2*escapes)
	for i := range len(s) {
		if plain(s[i]) {
			text = append(text, s[i])
		} else {
			text = appendEscaped(text, s[i])
		}
	}
	return string(text)
}
