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

// wholeAnswer hands on an answer whose form is known, and ends it so that the client
// notices if it was cut short: a backend may end a short download as it ends a whole one. The
// head is given to the client with the first byte, so that an answer without any can be
// replaced. It is used by the goroutine that serves the request.
type wholeAnswer struct {
	http.ResponseWriter
	form   gate.ResponseForm
	head   int   // the status that waits for the first byte, or 0
	begun  bool  // an answer of this form has gone to the client
	length int64 // bytes that the backend has sent of it
	// zlib compresses it, if it is compressed, to buffer: it writes a few bytes at a time.
	zlib   *zlib.Writer
	buffer *bufio.Writer
	// answering, unless it is nil, is called when the backend has begun the answer.
	answering func()
}

var errNothingSent = errors.New("the backend began an answer and sent nothing of it")

// serve calls the next handlers for an answer of this form. It returns errNothingSent if
// there was none of it, with nothing written. It ends the request, by the panic that
// net/http has for this, if the answer was cut short.
func (a *wholeAnswer) serve(next caddyhttp.Handler, out *http.Request, logger *zap.Logger) error {
	err := callNext(next, a, out, a.holds)
	switch {
	case a.head != 0:
		return errNothingSent
	case !a.begun:
		return err
	case err == nil && a.length%a.form.Unit == 0 && a.close() == nil:
		return nil
	}
	// The client only sees the end of the connection.
	logger.Error("a download was cut short by the backend, or by its client; repeat it", zap.Int64("bytes", a.length),
		zap.Int64("unit", a.form.Unit))
	a.reset(out)
	panic(http.ErrAbortHandler)
}

// reset resets the connection of a client that speaks HTTP/1.0, such as a proxy in front:
// it takes the end of the connection for the end of the answer.
func (a *wholeAnswer) reset(r *http.Request) {
	if r.ProtoAtLeast(1, 1) {
		return
	}
	conn, _, err := http.NewResponseController(innermost(a.ResponseWriter)).Hijack()
	if err != nil {
		return // the connection is broken already
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
		_ = lingering.SetLinger(0) // fails if the connection is broken already
	}
	_ = inner.Close()
	_ = conn.Close()
}

// holds reports whether the end of an answer of this form is still to come.
func (a *wholeAnswer) holds() bool { return a.head != 0 || a.begun }

// WriteHeader implements http.ResponseWriter.
func (a *wholeAnswer) WriteHeader(status int) {
	if status == http.StatusOK && !a.begun {
		a.head = status
		if a.answering != nil {
			a.answering()
		}
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *wholeAnswer) Write(p []byte) (int, error) {
	if a.head != 0 && len(p) > 0 {
		a.begin()
	}
	if !a.begun {
		return a.ResponseWriter.Write(p) // an error
	}
	a.length += int64(len(p))
	if a.zlib != nil {
		return a.zlib.Write(p)
	}
	return a.ResponseWriter.Write(p)
}

// compressedBuffer is how much compressed data is collected before it is written, in bytes.
const compressedBuffer = 32 << 10

// begin gives the client the head.
func (a *wholeAnswer) begin() {
	if level := a.form.Compress; level > 0 {
		a.buffer = bufio.NewWriterSize(a.ResponseWriter, compressedBuffer)
		a.zlib, _ = zlib.NewWriterLevel(a.buffer, level) // which is from 1 to 9
		for _, name := range []string{"Accept-Ranges", "Content-Length", "ETag"} {
			a.Header().Del(name)
		}
	}
	a.ResponseWriter.WriteHeader(a.head)
	a.head, a.begun = 0, true
}

func (a *wholeAnswer) close() error {
	if a.zlib == nil {
		return nil
	}
	if err := a.zlib.Close(); err != nil {
		return err
	}
	return a.buffer.Flush()
}

// FlushError is what http.ResponseController calls. What is compressed isn't flushed,
// which would make it longer.
func (a *wholeAnswer) FlushError() error {
	if a.head != 0 || a.zlib != nil {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap gives http.ResponseController the writer below.
func (a *wholeAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
