package gate

import "net/http"

// IsEarlyData reports whether a request arrived in TLS early data, which an attacker on the
// network can record and replay (RFC 8446 section 8). It returns true if this server's own
// handshake isn't complete yet or if a server in front has set the Early-Data header (RFC 8470
// section 5.1). A client that sets the header itself only delays its own requests.
func IsEarlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header["Early-Data"]) > 0
}

// safeMethod reports whether requests with this method are safe to replay (RFC 9110 section
// 9.2.1) and may therefore be sent in early data (RFC 8470 section 4).
func safeMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
