package caddymodule

import (
	"errors"
	"io"
	"net/http"
)

// limitedBody is a streamed request body with a size limit.
type limitedBody struct {
	io.Closer
	source io.Reader
	left   int64 // how many more bytes may arrive
	// missing is how many bytes of the announced length have not arrived yet; negative if the
	// length is unknown.
	missing int64
}

// newLimitedBody returns the request's body, limited to limit bytes.
func newLimitedBody(r *http.Request, limit int64) limitedBody {
	return limitedBody{Closer: r.Body, source: r.Body, left: limit, missing: r.ContentLength}
}

// Read implements io.Reader. It returns errBodyTooLarge if the body exceeds the limit, and
// io.ErrUnexpectedEOF if the body is shorter than announced, which HTTP/3 doesn't report as an
// error.
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
