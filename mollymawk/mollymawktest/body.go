package mollymawktest

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// body reads a request's body out of its framing and takes note of it. Its errors
// other than io.EOF are errMalformed and errGone, and stay.
type body struct {
	r       *bufio.Reader
	record  *requestRecord
	chunked bool
	left    int64 // of the body, or of the chunk
	begun   bool  // the first chunk has been reached
	err     error
}

func newBody(r *bufio.Reader, record *requestRecord, length int64, chunked bool) *body {
	b := &body{r: r, record: record, chunked: chunked, left: length}
	if !chunked && length == 0 {
		b.end(io.EOF)
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
		b.end(io.EOF)
	case err != nil:
		b.end(errGone)
	}
	return n, nil
}

// nextChunk reads what stands between two chunks. Neither chunk extensions nor
// trailers are supported: both are malformed.
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
		if p.err == nil {
			p.err = io.EOF
		}
	}
	if p.err != nil {
		b.end(p.err)
		return
	}
	b.left = size
}

func (b *body) end(err error) {
	b.err = err
	b.record.bodyEnded(!errors.Is(err, io.EOF))
}

// all reads what is left. It is false if the body is broken; then there is no
// answer.
func (b *body) all() ([]byte, bool) {
	data, err := io.ReadAll(b)
	return data, err == nil
}

// drain reads what nobody wanted, and says whether the body is whole.
func (b *body) drain() bool {
	_, err := io.Copy(io.Discard, b)
	return err == nil
}

var _ io.Reader = (*body)(nil)
