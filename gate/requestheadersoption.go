package gate

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// requiredHeaders are always forwarded, whether or not [Config.RequestHeaders] lists them,
// because without them, the rest of a request would mean something else.
var requiredHeaders = []string{
	"Content-Encoding", "Content-Length", "Content-Type",
	"Early-Data", // RFC 8470 section 5.1
	"Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version",
}

// CheckRequestHeaders returns an error if names isn't a valid [Config.RequestHeaders]. Nil
// means no restriction.
func CheckRequestHeaders(names []string) error {
	if names != nil && len(names) == 0 {
		return errors.New("request_headers is empty: name the headers that the backend needs, for example Accept")
	}
	for _, name := range names {
		switch folded := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name) || strings.Contains(name, "*"):
			return fmt.Errorf("request_headers: %s is not a header name: write complete names, for example Accept",
				ConfigWord(name))
		case overrideHeaders.contain(name), identityHeaders.contain(name):
			return fmt.Errorf("request_headers: a client's %s is always removed, because a backend may mistake it for "+
				"the caller's identity or a request override: set it after the gate, or leave it out", folded)
		case strippedHeaders.contain(name), connectionHeaders[folded],
			framingHeaders[folded] && folded != "Content-Length":
			return fmt.Errorf("request_headers: a client's %s is never forwarded: leave it out", folded)
		}
	}
	return nil
}

// connectionHeaders apply to a single connection.
var connectionHeaders = map[string]bool{
	"Connection": true, "Http2-Settings": true, "Keep-Alive": true, "Proxy-Connection": true, "Upgrade": true,
}

// allowedHeaders returns the set of allowed headers, or nil if names is nil.
func allowedHeaders(names []string) map[string]bool {
	if names == nil {
		return nil
	}
	allowed := make(map[string]bool)
	for _, name := range slices.Concat(requiredHeaders, names) {
		allowed[http.CanonicalHeaderKey(name)] = true
	}
	return allowed
}
