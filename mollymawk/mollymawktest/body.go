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

// body reads a request's body without its framing and records it. Read returns io.EOF when
// H1 would report the end of the body to the handler (ocaml-h1 389e5b9, lib/parse.ml); see
// ending for the possible causes. Read returns errUnfinished if H1 would never report the
// end.
type body struct {
	r       *bufio.Reader
	record  *requestRecord
	chunked bool
	left    int64 // remaining bytes in the body or the chunk
	started bool  // set when the first chunk has been reached
	ending  ending
	err     error
}

// ending describes how a body ended.
type ending int

const (
	// whole means that the body is complete or hasn't ended yet.
	whole ending = iota
	// early means that the connection ended (FIN) inside a chunk or inside a body with a
	// Content-Length. To the handler, the body looks complete.
	early
	// failed means that the framing is malformed or the connection was reset (RST). H1
	// reports the end of the body to the handler, whose response raises an exception.
	failed
	// unfinished means that the connection ended between two chunks or that this server cut
	// it. The handler waits forever for the rest.
	unfinished
)

// errUnfinished means that no more data will arrive for a body that hasn't ended.
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
		b.end(endingOf(err))
	}
	return n, nil
}

// endingOf returns the ending for a connection error that occurs where the end of the
// connection doesn't end the body.
func endingOf(err error) ending {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return unfinished
	}
	return failed
}

// nextChunk reads the framing before the next chunk's data. It treats chunk extensions and
// trailers as malformed.
func (b *body) nextChunk() {
	p := headParser{r: b.r}
	if b.started {
		p.expect("\r\n")
	}
	b.started = true
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
		b.end(endingOf(p.err))
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

// all reads the rest of the body into memory. It reports false if the body never ends, in
// which case the client gets no response. It raises an exception if the body or its
// announced length exceeds the limit, memory, which is in bytes.
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

// drain discards the rest of the body and reports whether another request may follow.
func (b *body) drain() bool {
	_, err := io.Copy(io.Discard, b)
	return err == nil && b.ending == whole
}

var _ io.Reader = (*body)(nil)
