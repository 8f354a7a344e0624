package gate

import "net/http"

// CameEarly reports whether a request came in TLS early data, which an attacker on the
// network can record and send again (RFC 8446 section 8): to this server, whose handshake
// isn't over then, or to one in front, which sets a header (RFC 8470 section 5.1). A client
// that sets the header itself only delays its own requests.
func CameEarly(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header["Early-Data"]) > 0
}

// safeMethod reports whether a request may be repeated by anybody without harm
// (RFC 9110 section 9.2.1), which is what makes it one for early data (RFC 8470
// section 4).
func safeMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
