package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/klauspost/compress/zlib"

	"github.com/mollygate/mollygate/gate"
)

// wholeAnswer hands on an answer whose form is known, and ends it so that the client
// notices if it was cut short: Mollymawk ends a short download as it ends a whole one. The
// head is given to the client with the first byte, so that an answer without any can be
// replaced. It is used by the goroutine that serves the request.
type wholeAnswer struct {
	http.ResponseWriter
	form   gate.AnswerForm
	head   int   // the status that waits for the first byte, or 0
	begun  bool  // an answer of this form has gone to the client
	length int64 // bytes that the backend has sent of it
	zlib   *zlib.Writer
}

var (
	errNothingSent = errors.New("the backend began an answer and sent nothing of it")
	errCutShort    = errors.New("the backend's answer was cut short")
)

// serve calls the next handlers for an answer of this form. It returns errNothingSent if
// there was none of it, with nothing written. It ends the request, by the panic that
// net/http has for this, if the answer was cut short.
func (a *wholeAnswer) serve(next caddyhttp.Handler, out *http.Request, tell func(error)) error {
	err := a.callNext(next, out)
	switch {
	case a.head != 0:
		return errNothingSent
	case !a.begun:
		return err
	case err == nil && a.length%a.form.Unit == 0 && a.close() == nil:
		return nil
	}
	tell(fmt.Errorf("%w: %d bytes came, which is no whole number of %d", errCutShort, a.length, a.form.Unit))
	panic(http.ErrAbortHandler)
}

// callNext returns an error in place of the panic by which Caddy's proxy ends an answer
// that the backend has broken off.
func (a *wholeAnswer) callNext(next caddyhttp.Handler, out *http.Request) (err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if cause != http.ErrAbortHandler || a.head == 0 && !a.begun { //nolint:errorlint // the proxy panics with this very value
			panic(cause)
		}
		err = errCutShort
	}()
	return next.ServeHTTP(a, out)
}

// WriteHeader implements http.ResponseWriter.
func (a *wholeAnswer) WriteHeader(status int) {
	if status == http.StatusOK && !a.begun {
		a.head = status
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

// begin gives the client the head.
func (a *wholeAnswer) begin() {
	if level := a.form.Compress; level > 0 {
		a.zlib, _ = zlib.NewWriterLevel(a.ResponseWriter, level) // which is from 1 to 9
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
	return a.zlib.Close()
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
