package caddymodule

import (
	"errors"
	"io"
	"net/http"
)

// limitedBody is a request's body while it is streamed.
type limitedBody struct {
	io.Closer
	source io.Reader
	left   int64 // bytes that may still come
	// missing is how many bytes of the announced length have not arrived; negative if
	// none was announced.
	missing int64
}

// newLimitedBody returns the body of a request, of which limit bytes are taken.
func newLimitedBody(r *http.Request, limit int64) limitedBody {
	return limitedBody{Closer: r.Body, source: r.Body, left: limit, missing: r.ContentLength}
}

// Read implements io.Reader. It fails with errBodyTooLarge beyond the limit, and with
// io.ErrUnexpectedEOF if the body is shorter than announced, which over HTTP/3 is no error
// of reading.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.source.Read(p)
	b.left -= int64(n)
	if b.missing > 0 {
		b.missing = max(0, b.missing-int64(n))
	}
	switch {
	case b.left < 0:
		return 0, errBodyTooLarge
	case errors.Is(err, io.EOF) && b.missing > 0:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
