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

// framingHeaders frame a message and announce its trailers. Naming them in Connection has no
// effect.
var framingHeaders = map[string]bool{
	"Content-Length":    true,
	"Transfer-Encoding": true,
	"Host":              true,
	"Te":                true,
	"Trailer":           true,
}

// proxyHeaders, like identityHeaders, are set by a proxy in front of Caddy. The proxy should
// process Connection itself (RFC 9110 section 7.6.1). If it doesn't, a client could name one
// of these headers in Connection to get it deleted.
var proxyHeaders = newHeaderNames([]string{"early-data", "via"}, []string{"x-forwarded-"})

// Taken holds what [TakeHeaders] has taken from a request's headers.
type Taken struct {
	// Authorization holds the Authorization values, one per header line.
	Authorization []string
	// WebSocket reports whether the client asks to switch to the websocket protocol.
	WebSocket bool
	// Tokens are the sorted names of the other headers that contained a token.
	Tokens []string
}

// TakeHeaders sanitizes a request's headers in place and returns what it has taken. Afterwards,
// the headers contain neither the credential nor another token with one of the prefixes, nor
// anything that could pass for an identity set by the gate. From Cookie, TakeHeaders deletes only
// the cookies that contain a token. It also processes Connection, so a client can't make a proxy
// behind the gate delete headers that the gate sets.
//
// Call it on the original request before anything else. Otherwise, error routes, placeholders
// and logs could expose the credential.
func TakeHeaders(h http.Header, prefixes token.Prefixes) (taken Taken) {
	var connection, protocols []string
	for name, values := range h {
		switch name {
		case "Authorization":
			taken.Authorization = values
		case "Connection":
			connection = values
		case "Upgrade":
			protocols = values
		case "Trailer": // not supported
		default:
			if commonHeaders[name] || !overrideHeaders.contain(name) {
				taken.takeTokens(h, name, values, prefixes)
				continue
			}
		}
		delete(h, name)
	}
	if len(connection) > 0 {
		taken.WebSocket = httpguts.HeaderValuesContainsToken(connection, "Upgrade") && len(protocols) == 1 &&
			strings.EqualFold(protocols[0], "websocket")
		dropNominated(h, connection)
	}
	slices.Sort(taken.Tokens)
	return taken
}

// takeTokens deletes a header if one of its values contains a token.
func (t *Taken) takeTokens(h http.Header, name string, values []string, prefixes token.Prefixes) {
	for _, value := range values {
		if !tokenInText(prefixes, value) {
			continue
		}
		t.Tokens = append(t.Tokens, name)
		if name == "Cookie" {
			dropCookies(h, func(pair string) bool { return tokenInText(prefixes, pair) })
		} else {
			delete(h, name)
		}
		return
	}
}

// dropNominated deletes the fields named in Connection (RFC 9110 section 7.6.1), except those
// that a client has no reason to name.
func dropNominated(h http.Header, connection []string) {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			if name != "" && !framingHeaders[name] && !proxyHeaders.contain(name) && !identityHeaders.contain(name) {
				delete(h, name)
			}
		}
	}
}

// Forward returns the headers to send upstream. It copies the headers sanitized by
// [TakeHeaders], leaves out those meant only for the gate, and adds the token's identity.
// authorization is the account's upstream credential; if it is empty, Forward sends none.
// Forward stores the copies in the spare capacity of values. They share the token's memory, so the
// token must not change afterwards.
func (g *Gate) Forward(h http.Header, token *tokenstore.Principal, authorization string, values []string) http.Header {
	const added = 4 // headers
	out := make(http.Header, len(h)+added)
	set := func(name, value string) {
		values = append(values, value)
		out[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for name, lines := range h {
		if !g.forwards(name) {
			continue
		}
		if lines == nil { // a nil entry is significant to the proxy
			out[name] = nil
			continue
		}
		values = append(values, lines...)
		out[name] = values[len(values)-len(lines) : len(values) : len(values)]
	}
	if authorization != "" {
		set("Authorization", authorization)
	}
	id, name := token.SharedText()
	set("X-Token-Id", id)
	set("X-Token-Name", headerText(name))
	set("X-Token-Account", headerText(token.Account))
	return out
}

// forwards reports whether the gate forwards this client header on requests with a token.
func (g *Gate) forwards(name string) bool {
	if g.allowed != nil && !g.allowed[name] {
		return false
	}
	return commonHeaders[name] || !strippedHeaders.contain(name) && !identityHeaders.contain(name)
}

// commonHeaders are headers that many clients send and that are in none of the lists. Looking
// them up here is faster than searching the lists.
var commonHeaders = map[string]bool{
	"Accept": true, "Accept-Language": true, "Cache-Control": true, "Content-Length": true, "Content-Type": true,
	"If-Match": true, "If-Modified-Since": true,
	"If-None-Match": true, "Origin": true, "Pragma": true, "Priority": true, "Range": true, "Referer": true,
	"Sec-Ch-Ua": true, "Sec-Ch-Ua-Mobile": true,
	"Sec-Ch-Ua-Platform": true, "Sec-Fetch-Dest": true, "Sec-Fetch-Mode": true, "Sec-Fetch-Site": true, "Te": true,
	"Traceparent": true, "Tracestate": true,
	"User-Agent": true, "Via": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true,
	"X-Request-Id": true, "X-Requested-With": true,
}

// strippedHeaders are meant for the gate and never go upstream.
var strippedHeaders = newHeaderNames([]string{
	"authorization",
	"cookie",
	"cookie2",
	"proxy-authorization",
	"accept-encoding", // the gate must be able to read error responses
	"expect",          // handled by the gate
	"trailer",
}, nil)

// SetUpgrade sets the headers that request an upgrade to the websocket protocol.
func SetUpgrade(h http.Header) {
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{"websocket"}
}

// headerText encodes s for a header. It percent-encodes "%" and everything except printable
// ASCII.
func headerText(s string) string {
	for i := range len(s) {
		if !plainInHeader(s[i]) {
			return encodeForHeader(s)
		}
	}
	return s
}

func encodeForHeader(s string) string {
	var b []byte
	for i := range len(s) {
		if plainInHeader(s[i]) {
			b = append(b, s[i])
		} else {
			b = appendEscaped(b, s[i])
		}
	}
	return string(b)
}

func plainInHeader(c byte) bool { return c >= ' ' && c <= '~' && c != '%' }
