package problem

import (
	"io"
	"net/http"
	"time"
)

const (
	// A client that is still sending its body after a refusal may continue for lingerTime, up
	// to lingerLength bytes.
	lingerTime   = 500 * time.Millisecond
	lingerLength = 64 << 20
)

// WriteLast is like [Write] for a request whose body, if it announced one, will not be read.
// Over HTTP/1, it makes the response the last one on its connection; otherwise, the server
// would wait for the body (up to a minute in Caddy). If the client is still sending, WriteLast
// keeps reading for a moment, because a client that is cut off while sending may not see the
// response (RFC 9112 section 9.6). HTTP/2 and HTTP/3 end each stream separately.
func WriteLast(w http.ResponseWriter, r *http.Request, p Problem) {
	EndConnection(w, r)
	Write(w, p)
	if !bodyAnnounced(r) || r.Body == nil {
		return
	}
	controller := http.NewResponseController(w)
	if controller.Flush() == nil && controller.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lingerLength)
	}
}

// EndConnection makes the response that the caller is about to write the last one on its
// connection, as [WriteLast] does.
func EndConnection(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect && r.ProtoMajor == 1 {
		// The following bytes may be meant for the tunnel that wasn't established. Since Go
		// 1.26.10, Go's server also closes the connection itself.
		w.Header().Set("Connection", "close")
	}
	if bodyAnnounced(r) {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime)) // not all writers support it
	}
}

// bodyAnnounced reports whether the request announced a body on a connection that would have
// to wait for it.
func bodyAnnounced(r *http.Request) bool { return r.ProtoMajor == 1 && r.ContentLength != 0 }
