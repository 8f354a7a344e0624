package gate

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// necessary are headers without which the rest of a request means something else. They
// are handed on whatever [Config.RequestHeaders] names.
var necessary = []string{
	"Content-Encoding", "Content-Length", "Content-Type",
	"Early-Data", // RFC 8470 section 5.1
	"Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version",
}

// CheckRequestHeaders returns an error that says what is wrong with
// [Config.RequestHeaders]. Nil is no restriction.
func CheckRequestHeaders(names []string) error {
	if names != nil && len(names) == 0 {
		return errors.New("request_headers is empty: name the headers that the backend needs, for example Accept")
	}
	for _, name := range names {
		switch folded := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name) || strings.Contains(name, "*"):
			return fmt.Errorf("request_headers: %s is not the name of a header: write whole names, for example Accept",
				ConfigWord(name))
		case overriding.contain(name), foreignIdentity.contain(name):
			return fmt.Errorf(
				"request_headers: a client's %s is always removed, because a backend may take it for the caller's identity or for another request: set it after the gate, or leave it out", folded)
		case clientsOwn.contain(name), connectionHeaders[folded], framingHeaders[folded] && folded != "Content-Length":
			return fmt.Errorf("request_headers: a client's %s ends at the gate: leave it out", folded)
		}
	}
	return nil
}

// connectionHeaders are about one connection.
var connectionHeaders = map[string]bool{
	"Connection": true, "Http2-Settings": true, "Keep-Alive": true, "Proxy-Connection": true, "Upgrade": true,
}

// allowedHeaders returns the headers that a list of names lets through, or nil.
func allowedHeaders(names []string) map[string]bool {
	if names == nil {
		return nil
	}
	allowed := make(map[string]bool)
	for _, name := range slices.Concat(necessary, names) {
		allowed[http.CanonicalHeaderKey(name)] = true
	}
	return allowed
}
