package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/mollygate/mollygate/gate"
)

var errBodyTooLarge = errors.New("the body is larger than the route takes")

// takeBody gives out the body of r. That of an ordinary route is read here, so
// that the backend sees all of it or nothing of the request; uploads are streamed.
func (p *passage) takeBody(r, out *http.Request) error {
	route := p.Route
	limit := p.handler.gate.MaxBody(route)
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		return p.adapt(out, nil)
	case route.Upload:
		out.Body = &uploadBody{source: r.Body, left: limit}
		return nil
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead) // the gate has held it against the limit
	}
	n, err := buffer.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return err
	}
	if n > limit {
		return errBodyTooLarge
	}
	if n < r.ContentLength { // over HTTP/3 that is no error of reading
		return io.ErrUnexpectedEOF
	}
	return p.adapt(out, buffer.Bytes())
}

// adapt spells the request for the backend's generation.
func (p *passage) adapt(out *http.Request, body []byte) error {
	if adapt := p.Route.Adapt; adapt != nil {
		out.URL.RawQuery, body = adapt(out.URL.RawQuery, body)
	}
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	out.Body = http.NoBody
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	return nil
}

// bodyRefusal returns the refusal of a request whose body takeBody didn't take.
func bodyRefusal(err error) gate.Refusal {
	if errors.Is(err, errBodyTooLarge) {
		return gate.Refuse(gate.BodyTooLarge)
	}
	refusal := gate.Refuse(gate.InvalidRequest)
	refusal.Err = err
	refusal.Detail = "The request's body could not be read to its end."
	return refusal
}

// uploadBody counts a body while it is streamed to the backend.
type uploadBody struct {
	source io.ReadCloser
	left   int64
	// ended is called once, when the body has been read to its end.
	ended func()
}

// Read implements io.Reader. It fails with errBodyTooLarge after the limit.
func (b *uploadBody) Read(p []byte) (int, error) {
	n, err := b.source.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errBodyTooLarge
	}
	if errors.Is(err, io.EOF) && b.ended != nil {
		b.ended()
		b.ended = nil
	}
	return n, err
}

// Close implements io.Closer.
func (b *uploadBody) Close() error { return b.source.Close() }

var _ io.ReadCloser = (*uploadBody)(nil)
