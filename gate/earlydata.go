package gate

import "net/http"

// CameEarly says whether a request came in TLS early data, which whoever is on the
// wire can record and send again as often as they like (RFC 8446 section 8): to
// this server, which then knows that the handshake isn't over, or to one before it,
// which says so in a header of any value (RFC 8470 section 5.1). Clients that say so
// themselves harm nobody.
func CameEarly(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header["Early-Data"]) > 0
}

// safeMethod says whether a request may be repeated by anybody without harm
// (RFC 9110 section 9.2.1), which is what makes it one for early data (RFC 8470
// section 4).
func safeMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
