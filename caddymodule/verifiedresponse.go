package caddymodule

import (
	"bufio"
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/klauspost/compress/zlib"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
)

// verifiedResponse writes a response whose format is known and ensures that the client can
// detect a truncated response, because the backend may end a truncated download in the same
// way as a complete one. It doesn't send the header before the first byte of the body, so that
// an empty response can be replaced. Only the goroutine that serves the request may use it.
type verifiedResponse struct {
	http.ResponseWriter
	form          gate.ResponseForm
	pendingStatus int   // sent with the first byte; 0 if no header is pending
	headerSent    bool  // a response in this format has begun
	length        int64 // bytes sent by the backend
	// zlib, if compression was requested, compresses the response. It writes to buffer,
	// because it produces only a few bytes at a time.
	zlib   *zlib.Writer
	buffer *bufio.Writer
	// responseStarted, if not nil, is called when the backend begins the response.
	responseStarted func()
}

var errEmptyResponse = errors.New("the backend began a response but sent no data")

// serve calls the next handlers, whose response must have this format. If they send no data,
// serve writes nothing and returns errEmptyResponse. If their response is truncated, serve
// panics with http.ErrAbortHandler to end the request.
func (v *verifiedResponse) serve(next caddyhttp.Handler, out *http.Request, logger *zap.Logger) error {
	err := callNext(next, v, out, v.started)
	switch {
	case v.pendingStatus != 0:
		return errEmptyResponse
	case !v.headerSent:
		return err
	case err == nil && v.length%v.form.Unit == 0 && v.close() == nil:
		return nil
	}
	// All that the client sees is a closed connection.
	logger.Error("download truncated by the backend or the client; retry it",
		zap.Int64("bytes", v.length), zap.Int64("unit", v.form.Unit))
	v.reset(out)
	panic(http.ErrAbortHandler)
}

// reset resets the connection if the client, such as a proxy in front, uses HTTP/1.0.
// Otherwise, the client would mistake the end of the connection for the end of the response.
func (v *verifiedResponse) reset(r *http.Request) {
	if r.ProtoAtLeast(1, 1) {
		return
	}
	conn, _, err := http.NewResponseController(innermost(v.ResponseWriter)).Hijack()
	if err != nil {
		return // the connection is already broken
	}
	inner := conn
	for {
		outer, ok := inner.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		inner = outer.NetConn()
	}
	if lingering, ok := inner.(interface{ SetLinger(seconds int) error }); ok {
		_ = lingering.SetLinger(0) // fails if the connection is already broken
	}
	_ = inner.Close()
	_ = conn.Close()
}

// started reports whether a response in this format has begun.
func (v *verifiedResponse) started() bool { return v.pendingStatus != 0 || v.headerSent }

// WriteHeader implements http.ResponseWriter.
func (v *verifiedResponse) WriteHeader(status int) {
	if status == http.StatusOK && !v.headerSent {
		v.pendingStatus = status
		if v.responseStarted != nil {
			v.responseStarted()
		}
		return
	}
	v.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (v *verifiedResponse) Write(p []byte) (int, error) {
	if v.pendingStatus != 0 && len(p) > 0 {
		v.begin()
	}
	if !v.headerSent {
		return v.ResponseWriter.Write(p) // this is an error response
	}
	v.length += int64(len(p))
	if v.zlib != nil {
		return v.zlib.Write(p)
	}
	return v.ResponseWriter.Write(p)
}

// compressedBuffer is the size, in bytes, of the buffer for compressed data.
const compressedBuffer = 32 << 10

// begin sends the response header.
func (v *verifiedResponse) begin() {
	if level := v.form.Compress; level > 0 {
		v.buffer = bufio.NewWriterSize(v.ResponseWriter, compressedBuffer)
		v.zlib, _ = zlib.NewWriterLevel(v.buffer, level) // the level is always from 1 to 9
		for _, name := range []string{"Accept-Ranges", "Content-Length", "ETag"} {
			v.Header().Del(name)
		}
	}
	v.ResponseWriter.WriteHeader(v.pendingStatus)
	v.pendingStatus, v.headerSent = 0, true
}

func (v *verifiedResponse) close() error {
	if v.zlib == nil {
		return nil
	}
	if err := v.zlib.Close(); err != nil {
		return err
	}
	return v.buffer.Flush()
}

// FlushError implements the method that http.ResponseController calls. It doesn't flush
// compressed data, because that would make it larger.
func (v *verifiedResponse) FlushError() error {
	if v.pendingStatus != 0 || v.zlib != nil {
		return nil
	}
	return http.NewResponseController(v.ResponseWriter).Flush()
}

// Unwrap returns the underlying writer for http.ResponseController.
func (v *verifiedResponse) Unwrap() http.ResponseWriter { return v.ResponseWriter }
