package mollymawktest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxHead is the maximum size of a request's head, in bytes. H1 itself has no limit.
const maxHead = 1 << 20

// errMalformed reports malformed HTTP, to which the server doesn't respond.
var errMalformed = errors.New("malformed HTTP")

// head is a request's head.
type head struct {
	method, target string
	major, minor   int
	lines          []string // as received, without line endings
	fields         []field
}

type field struct{ name, value string }

// readHead reads a request's head like H1's parser (ocaml-h1 389e5b9, lib/parse.ml). The
// method is everything before the first space, including line endings. Only CR LF ends a
// line, so a bare line feed is part of a header's value. A space before a header's colon is
// an error. The error is io.EOF if the connection ends before the first byte.
func readHead(r *bufio.Reader) (*head, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, io.EOF
	}
	p := headParser{r: r}
	h := &head{}
	h.method = p.until(" \t")
	p.expect(" ")
	h.target = p.until(" \t")
	p.expect(" HTTP/")
	h.major = p.digit()
	p.expect(".")
	h.minor = p.digit()
	p.expect("\r\n")
	for p.err == nil && p.peek() != '\r' {
		p.text.Reset()
		name := p.until(" \t:")
		p.expect(":")
		value := p.until("\r")
		h.lines = append(h.lines, p.text.String())
		h.fields = append(h.fields, field{name, strings.Trim(value, " \t\n\r\f")})
		p.expect("\r\n")
	}
	p.expect("\r\n")
	if p.err != nil {
		return nil, p.err
	}
	return h, nil
}

// headParser reads a head byte by byte. It stops reading after an error.
type headParser struct {
	r    *bufio.Reader
	text strings.Builder // bytes read so far
	n    int             // number of bytes read
	err  error
}

func (p *headParser) peek() byte {
	if p.err != nil {
		return 0
	}
	b, err := p.r.Peek(1)
	if err != nil {
		p.err = err
		return 0
	}
	return b[0]
}

func (p *headParser) next() byte {
	b := p.peek()
	if p.err != nil {
		return 0
	}
	if p.n++; p.n > maxHead {
		p.err = errMalformed
		return 0
	}
	_, _ = p.r.Discard(1) // peek has already buffered it
	p.text.WriteByte(b)
	return b
}

// until reads up to the first stop byte, which it leaves unread.
func (p *headParser) until(stops string) string {
	start := p.text.Len()
	for p.err == nil && strings.IndexByte(stops, p.peek()) < 0 {
		p.next()
	}
	return p.text.String()[start:]
}

func (p *headParser) expect(text string) {
	for i := range len(text) {
		if b := p.peek(); p.err == nil && b != text[i] {
			p.err = errMalformed
		}
		p.next()
	}
}

func (p *headParser) digit() int {
	b := p.peek()
	if p.err == nil && (b < '0' || b > '9') {
		p.err = errMalformed
	}
	p.next()
	return int(b - '0')
}

func (h *head) proto() string { return fmt.Sprintf("HTTP/%d.%d", h.major, h.minor) }

// last returns the value of the last header with this name. H1 ignores the others.
func (h *head) last(name string) (value string, ok bool) {
	for _, f := range h.fields {
		if strings.EqualFold(f.name, name) {
			value, ok = f.value, true
		}
	}
	return value, ok
}

// framing returns the body's length in bytes, or reports that the body is chunked. If there
// are several transfer codings, the last one counts and must be "chunked". Repeated
// Content-Length values must be identical. An upgrade request must not have a body.
func (h *head) framing() (length int64, chunked bool, err error) {
	coding, coded := h.last("transfer-encoding")
	switch {
	case coded && strings.EqualFold(coding, "chunked"):
		chunked = true
	case coded:
		return 0, false, errMalformed
	default:
		text, ok := h.last("content-length")
		if !ok {
			return 0, false, nil
		}
		for _, f := range h.fields {
			if strings.EqualFold(f.name, "content-length") && f.value != text {
				return 0, false, errMalformed
			}
		}
		if length, ok = integer(text); !ok || length < 0 {
			return 0, false, errMalformed
		}
	}
	if h.upgrades() && (chunked || length > 0) {
		return 0, false, errMalformed
	}
	return length, chunked, nil
}

// integer parses a number like OCaml's int_of_string, which allows a sign, a base and
// underscores. A stricter front end must not forward lengths written this way.
func integer(text string) (n int64, ok bool) {
	digits, negative := strings.CutPrefix(text, "-")
	if !negative {
		digits = strings.TrimPrefix(text, "+")
	}
	base := 10
	for _, prefix := range []struct {
		text string
		base int
	}{{"0x", 16}, {"0o", 8}, {"0b", 2}, {"0u", 10}} {
		if len(digits) > 2 && strings.EqualFold(digits[:2], prefix.text) {
			digits, base = digits[2:], prefix.base
			break
		}
	}
	if strings.HasPrefix(digits, "_") || strings.ContainsAny(digits, "+-") {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(digits, "_", ""), base, 64)
	if negative {
		n = -n
	}
	return n, err == nil
}

func (h *head) upgrades() bool {
	connection, _ := h.last("connection")
	for option := range strings.SplitSeq(connection, ",") {
		if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
			return true
		}
	}
	return false
}

// persistent reports whether the connection may carry another request. Connection options
// are case-sensitive, and comma-separated lists are ignored.
func (h *head) persistent() bool {
	switch connection, _ := h.last("connection"); connection {
	case "close":
		return false
	case "keep-alive":
		return h.major >= 1
	}
	return h.major > 1 || h.major == 1 && h.minor >= 1
}
