package caddymodule

import (
	"bufio"
	"errors"
	"net"
	"net/http"
)

// errUnsolicitedUpgrade is the error for a response that switches to a protocol that the
// request didn't ask for.
var errUnsolicitedUpgrade = errors.New("the backend switched protocols without being asked to")

// unsolicitedUpgrade reports whether the status switches protocols although the request didn't
// ask for an upgrade.
func (rw *responseWriter) unsolicitedUpgrade(status int) bool {
	return status == http.StatusSwitchingProtocols && !rw.exchange.Upgrade
}

// proxyGotUpgrade reports whether Caddy's proxy received a response that switches protocols.
// If the response switches to a protocol that wasn't requested, the proxy drops the response
// and sends nothing to the client.
func (rw *responseWriter) proxyGotUpgrade() bool {
	status, _ := replacer(rw.request).Get("http.reverse_proxy.status_code")
	return status == http.StatusSwitchingProtocols
}

// Hijack implements http.Hijacker. It fails while the response is being buffered.
func (rw *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !rw.headerSent() {
		return nil, nil, http.ErrNotSupported
	}
	return http.NewResponseController(rw.ResponseWriter).Hijack()
}

var _ http.Hijacker = (*responseWriter)(nil)
