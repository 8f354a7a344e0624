package mollymawktest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// body reads a request's body out of its framing and records it. Read returns
// io.EOF where H1 tells the handler that the body has ended (ocaml-h1 389e5b9,
// lib/parse.ml), which says little: see ending. It returns errUnfinished where H1
// never does so.
type body struct {
	r       *bufio.Reader
	record  *requestRecord
	chunked bool
	left    int64 // of the body, or of the chunk
	begun   bool  // the first chunk has been reached
	ending  ending
	err     error
}

// ending is how a body has ended.
type ending int

const (
	// whole is a body that is complete, or that goes on.
	whole ending = iota
	// early is the end of the connection (FIN) while bytes were due: within a body with
	// a length or within a chunk. To the handler it looks complete.
	early
	// failed is malformed framing or a connection that was reset (RST). The handler is
	// told that the body has ended, and its answer raises an exception.
	failed
	// unfinished is the end of the connection between two chunks, or a connection that
	// this server has cut. The handler waits for the rest without end.
	unfinished
)

// errUnfinished reports that nothing more comes of a body that hasn't ended.
var errUnfinished = errors.New("the body never ends")

func newBody(r *bufio.Reader, record *requestRecord, length int64, chunked bool) *body {
	b := &body{r: r, record: record, chunked: chunked, left: length}
	if !chunked && length == 0 {
		b.end(whole)
	}
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err == nil && b.left == 0 {
		b.nextChunk()
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.record.body(p[:n])
	switch {
	case b.left == 0 && !b.chunked:
		b.end(whole)
	case errors.Is(err, io.EOF) && b.left > 0:
		b.end(early)
	case err != nil:
		b.end(lost(err))
	}
	return n, nil
}

// lost is the ending that goes with an error of the connection where the end of the
// connection doesn't end the body.
func lost(err error) ending {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return unfinished
	}
	return failed
}

// nextChunk reads what separates two chunks. Neither chunk extensions nor trailers
// are supported: both are malformed.
func (b *body) nextChunk() {
	p := headParser{r: b.r}
	if b.begun {
		p.expect("\r\n")
	}
	b.begun = true
	p.text.Reset()
	digits := p.until("\r")
	p.expect("\r\n")
	size, err := strconv.ParseInt(digits, 16, 64)
	if p.err == nil && (err != nil || strings.ContainsAny(digits, "+-")) {
		p.err = errMalformed
	}
	if p.err == nil && size == 0 {
		p.expect("\r\n")
	}
	switch {
	case errors.Is(p.err, errMalformed):
		b.end(failed)
	case p.err != nil:
		b.end(lost(p.err))
	case size == 0:
		b.end(whole)
	}
	b.left = size
}

func (b *body) end(how ending) {
	b.ending, b.err = how, io.EOF
	if how == unfinished {
		b.err = errUnfinished
	}
	b.record.bodyEnded(how != whole)
}

// all reads what is left into memory. It returns false if the body never ends; then
// there is no answer. A body that needs more than memory, or announces more, raises
// an exception.
func (b *body) all(announced, memory int64) ([]byte, bool) {
	if announced > memory {
		raise("Out_of_memory")
	}
	data, err := io.ReadAll(io.LimitReader(b, memory+1))
	if int64(len(data)) > memory {
		raise("Out_of_memory")
	}
	return data, err == nil
}

// drain reads what nobody wanted, and reports whether another request may follow.
func (b *body) drain() bool {
	_, err := io.Copy(io.Discard, b)
	return err == nil && b.ending == whole
}

var _ io.Reader = (*body)(nil)
