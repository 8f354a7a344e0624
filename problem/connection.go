package problem

import (
	"io"
	"net/http"
	"time"
)

const (
	// lingerTime and lingerLength are how long, and how much of it in bytes, a
	// client that is just sending its body may go on after it has been refused.
	lingerTime   = 500 * time.Millisecond
	lingerLength = 64 << 20
)

// WriteLast answers like [Write] a request whose body, if it announced one, nobody
// wants. Over HTTP/1 the answer is then the last on its connection: the server would
// wait for the body otherwise, Caddy up to a minute. A client that is just sending
// is listened to for a moment, because one that is cut off while it sends may not
// get to see the answer (RFC 9112 section 9.6). HTTP/2 and HTTP/3 have streams,
// which end by themselves.
func WriteLast(w http.ResponseWriter, r *http.Request, p Problem) {
	EndConnection(w, r)
	Write(w, p)
	if !announced(r) || r.Body == nil {
		return
	}
	controller := http.NewResponseController(w)
	if controller.Flush() == nil && controller.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lingerLength)
	}
}

// EndConnection makes the answer, which somebody else is about to write, the last
// on its connection, as [WriteLast] does.
func EndConnection(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect && r.ProtoMajor == 1 {
		// What follows may be meant for the tunnel that there is not. Go's server does so
		// too, from 1.26.10 on.
		w.Header().Set("Connection", "close")
	}
	if announced(r) {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime)) // not all writers can
	}
}

// announced says whether a body was announced on a connection that would have to
// wait for it.
func announced(r *http.Request) bool { return r.ProtoMajor == 1 && r.ContentLength != 0 }
