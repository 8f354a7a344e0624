package caddymodule

import (
	"bufio"
	"errors"
	"net"
	"net/http"
)

// errUnaskedSwitch is why an answer is replaced that switches to a protocol which the
// request didn't ask for.
var errUnaskedSwitch = errors.New("the backend switched to a protocol that it was not asked for")

// unaskedSwitch reports whether an answer with this status switches the protocol without
// having been asked to.
func (a *answerWriter) unaskedSwitch(status int) bool {
	return status == http.StatusSwitchingProtocols && a.exchange.Upgrade == ""
}

// proxySawSwitch reports whether Caddy's proxy got an answer that switches the protocol.
// It drops one that switches to another than the one that was asked for, without an
// answer to the client.
func (a *answerWriter) proxySawSwitch() bool {
	status, _ := replacer(a.request).Get("http.reverse_proxy.status_code")
	return status == http.StatusSwitchingProtocols
}

// Hijack implements http.Hijacker. A connection whose answer is held isn't given away.
func (a *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !a.headerSent() {
		return nil, nil, http.ErrNotSupported
	}
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

var _ http.Hijacker = (*answerWriter)(nil)
