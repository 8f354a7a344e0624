package caddymodule

import (
	"errors"
	"io"
	"iter"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
)

// filteredResponse writes a response that lists resources, without those that the token may
// not act on. It doesn't send the header before the first byte, so that a response in an
// unknown format can be replaced. Only the goroutine that serves the request may use it.
type filteredResponse struct {
	http.ResponseWriter
	pendingStatus int  // sent with the first byte; 0 if no header is pending
	headerSent    bool // a filtered response has begun
	unlisted      bool // the response is an error or a redirect, which lists nothing

	// The filter reads input as it arrives. It is a coroutine: it runs only while the handler
	// waits in Write, so it needs no lock.
	input  []byte
	ended  bool // there will be no more input
	resume func() (struct{}, bool)
	cancel func()
	err    error // the filter's result, once it has ended
}

// errUnfiltered means that a list can't be filtered, so that the client can't have it.
var errUnfiltered = errors.New("the backend's list can't be limited to the key's resources")

// newFilteredResponse returns a writer that filters the response. The caller must call cancel.
func newFilteredResponse(w http.ResponseWriter, listing *gate.Listing, keep func(name string) bool) *filteredResponse {
	f := &filteredResponse{ResponseWriter: w}
	f.resume, f.cancel = iter.Pull(func(yield func(struct{}) bool) {
		f.err = listing.Filter(filteredOutput{f}, &filterInput{f, yield}, keep)
	})
	return f
}

// prepareList removes the headers that would make the backend send only a part of the list, or
// compress it.
func prepareList(header http.Header) {
	for _, name := range []string{"Accept-Encoding", "Range", "If-Range", "If-None-Match", "If-Modified-Since",
		"If-Match", "If-Unmodified-Since"} {
		header.Del(name)
	}
}

// serve calls the next handlers. If their list can't be filtered, it returns errUnfiltered or,
// if the client has already got a part of it, ends the request with a panic.
func (f *filteredResponse) serve(next caddyhttp.Handler, out *http.Request, logger *zap.Logger) error {
	defer f.cancel()
	err := callNext(next, f, out, f.started)
	if !f.started() {
		return err
	}
	if err == nil {
		f.ended = true
		f.run()
	}
	if f.err != nil {
		err = f.err // a proxy reports only that it has aborted the response
	}
	switch {
	case err == nil && f.pendingStatus == 0:
		return nil
	case !f.headerSent && out.Context().Err() != nil:
		return err // the client has disconnected, or the response took too long
	case !f.headerSent:
		logger.Error("the backend's list can't be limited to the key's resources; check the backend's version",
			zap.Error(err))
		return errUnfiltered
	}
	logger.Error("list truncated by the backend or the client", zap.Error(err))
	panic(http.ErrAbortHandler) // all that the client sees is a closed connection
}

// started reports whether a list has begun.
func (f *filteredResponse) started() bool { return f.pendingStatus != 0 || f.headerSent }

// WriteHeader implements http.ResponseWriter. Of the successful responses, only those with status
// 200 are complete lists.
func (f *filteredResponse) WriteHeader(status int) {
	switch {
	case f.started():
	case status >= http.StatusOK && status < http.StatusMultipleChoices && !f.unlisted:
		f.pendingStatus = status
		f.prepare()
	default:
		f.unlisted = f.unlisted || status >= http.StatusMultipleChoices
		f.ResponseWriter.WriteHeader(status)
	}
}

// prepare removes the headers that describe the list as it was before it is filtered.
func (f *filteredResponse) prepare() {
	header := f.Header()
	if encoding := header.Get("Content-Encoding"); encoding != "" || f.pendingStatus != http.StatusOK {
		f.err = errors.New("the response is encoded or incomplete")
		f.cancel()
	}
	for _, name := range []string{"Accept-Ranges", "Content-Length", "ETag", "Last-Modified", "Content-Digest",
		"Repr-Digest", "Digest", "Content-MD5"} {
		header.Del(name)
	}
}

// Write implements http.ResponseWriter.
func (f *filteredResponse) Write(p []byte) (int, error) {
	if f.unlisted {
		return f.ResponseWriter.Write(p)
	}
	if !f.started() {
		f.WriteHeader(http.StatusOK)
	}
	f.input = p
	f.run()
	f.input = nil // p belongs to the caller
	if f.err != nil {
		return 0, f.err
	}
	return len(p), nil
}

// run runs the filter until it needs more input or has ended.
func (f *filteredResponse) run() {
	if f.err == nil {
		f.resume()
	}
}

// FlushError implements the method that http.ResponseController calls.
func (f *filteredResponse) FlushError() error {
	if f.pendingStatus != 0 {
		return nil
	}
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// Unwrap returns the underlying writer for http.ResponseController.
func (f *filteredResponse) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// filterInput is what the filter reads.
type filterInput struct {
	*filteredResponse
	yield func(struct{}) bool
}

// Read implements io.Reader. It waits for input.
func (i *filterInput) Read(b []byte) (int, error) {
	for len(i.input) == 0 {
		if i.ended {
			return 0, io.EOF
		}
		if !i.yield(struct{}{}) {
			return 0, io.ErrUnexpectedEOF // the request has ended
		}
	}
	n := copy(b, i.input)
	i.input = i.input[n:]
	return n, nil
}

// filteredOutput is where the filter writes.
type filteredOutput struct{ *filteredResponse }

// Write implements io.Writer.
func (o filteredOutput) Write(b []byte) (int, error) {
	if o.pendingStatus != 0 && len(b) > 0 {
		o.ResponseWriter.WriteHeader(o.pendingStatus)
		o.pendingStatus, o.headerSent = 0, true
	}
	return o.ResponseWriter.Write(b)
}

var _ http.ResponseWriter = (*filteredResponse)(nil)
