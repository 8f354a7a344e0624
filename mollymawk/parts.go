package mollymawk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// partsBuffer is the size, in bytes, of the buffer for reading a form.
const partsBuffer = 32 << 10

// parts reads a form (RFC 7578) part by part. It rejects everything that different programs
// interpret differently: text before or after the form, line endings without CR, text after
// a boundary on the same line, and a missing final boundary.
type parts struct {
	source *source
	buffer *bufio.Reader
	// delimiter is a line ending, two dashes and the boundary. A form's first delimiter
	// lacks the line ending. started is set once the first delimiter has been read.
	delimiter []byte
	started   bool
}

// newParts returns a reader for a form. Its methods fail with errFieldsTooLarge if they
// would have to read more than limit bytes; a negative limit means no limit.
func newParts(contentType []string, body io.Reader, limit int64) (*parts, error) {
	boundary, err := boundaryOf(contentType)
	if err != nil {
		return nil, err
	}
	p := &parts{source: &source{reader: body, left: limit}, delimiter: []byte("\r\n--" + boundary)}
	p.buffer = bufio.NewReaderSize(p.source, partsBuffer)
	return p, nil
}

// boundaryForm matches the boundaries that RFC 2046 section 5.1.1 allows.
var boundaryForm = regexp.MustCompile(`^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$`)

func boundaryOf(contentType []string) (string, error) {
	if len(contentType) != 1 || strings.Contains(contentType[0], "*") {
		return "", errNoForm
	}
	mediaType, parameters, err := mime.ParseMediaType(contentType[0])
	if err != nil || mediaType != "multipart/form-data" || !boundaryForm.MatchString(parameters["boundary"]) {
		return "", errNoForm
	}
	return parameters["boundary"], nil
}

var (
	errNoForm = invalid(
		"Send a form: one Content-Type header with multipart/form-data and a boundary, as curl -F does.")
	errForm      = invalid("The form isn't valid multipart/form-data (RFC 7578). Send it as curl -F does.")
	errTruncated = invalid("The form ends without its final boundary; it may be truncated.")
	errTrailing  = invalid("The form continues after its final boundary.")
)

// next advances to the next part and returns its header. The caller must have read the
// current part to its end. next returns io.EOF at the end of the form, which must also be
// the end of the body.
func (p *parts) next() (textproto.MIMEHeader, error) {
	more, err := p.more()
	if err != nil {
		return nil, err
	}
	if !more {
		return nil, p.end()
	}
	header, err := textproto.NewReader(p.buffer).ReadMIMEHeader()
	switch {
	case err != nil && p.source.err == nil:
		return nil, errForm
	case err != nil:
		return nil, p.failed(err)
	}
	// Some programs would treat a boundary right after a part's header as content.
	boundary := p.delimiter[len("\r\n"):]
	if start, _ := p.buffer.Peek(len(boundary)); bytes.Equal(start, boundary) {
		return nil, errForm
	}
	return header, nil
}

// more reads a boundary and reports whether another part follows.
func (p *parts) more() (bool, error) {
	delimiter := p.delimiter
	if !p.started {
		p.started, delimiter = true, delimiter[len("\r\n"):]
	}
	line := make([]byte, len(delimiter)+2)
	if _, err := io.ReadFull(p.buffer, line); err != nil {
		return false, p.failed(err)
	}
	switch end := string(line[len(delimiter):]); {
	case !bytes.HasPrefix(line, delimiter), end != "\r\n" && end != "--":
		return false, errForm
	default:
		return end == "\r\n", nil
	}
}

// end checks that nothing except an optional line ending follows the final boundary, and
// returns io.EOF if so.
func (p *parts) end() error {
	rest, err := io.ReadAll(io.LimitReader(p.buffer, 3))
	switch {
	case err != nil:
		return p.failed(err)
	case len(rest) > 0 && string(rest) != "\r\n":
		return errTrailing
	}
	return io.EOF
}

// Read reads from the current part.
func (p *parts) Read(b []byte) (int, error) {
	for need := 1; ; {
		if _, err := p.buffer.Peek(need); err != nil {
			return 0, p.failed(err)
		}
		data, _ := p.buffer.Peek(p.buffer.Buffered())
		end := bytes.Index(data, p.delimiter)
		switch {
		case end == 0:
			return 0, io.EOF
		case end < 0:
			end = len(data) - p.partialDelimiter(data)
		}
		if end > 0 {
			n := copy(b, data[:end])
			_, _ = p.buffer.Discard(n)
			return n, nil
		}
		need = len(data) + 1
	}
}

// partialDelimiter returns how many bytes at the end of data may be the start of a
// delimiter.
func (p *parts) partialDelimiter(data []byte) int {
	for n := min(len(p.delimiter)-1, len(data)); n > 0; n-- {
		if bytes.HasSuffix(data, p.delimiter[:n]) {
			return n
		}
	}
	return 0
}

// offset returns the next byte's position in the body.
func (p *parts) offset() int64 { return p.source.read - int64(p.buffer.Buffered()) }

// failed returns the error to report for a failed read: either the source's error or one
// that describes what is wrong with the form.
func (p *parts) failed(err error) error {
	switch {
	case p.source.err != nil && !errors.Is(p.source.err, io.EOF):
		return p.source.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errTruncated
	}
	return errForm
}

// source reads a body up to a limit and remembers the last read's error.
type source struct {
	reader io.Reader
	read   int64 // bytes
	left   int64 // number of bytes that may still be read; negative means no limit
	err    error
}

var errFieldsTooLarge = errors.New("form fields too large")

// Read implements io.Reader.
func (s *source) Read(b []byte) (n int, err error) {
	if s.left == 0 {
		s.err = errFieldsTooLarge
		return 0, s.err
	}
	if s.left > 0 && int64(len(b)) > s.left {
		b = b[:s.left]
	}
	n, s.err = s.reader.Read(b)
	s.read += int64(n)
	if s.left > 0 {
		s.left -= int64(n)
	}
	return n, s.err
}

// part holds the values in a part's header.
type part struct {
	name string
	// fileName and contentType are optional.
	fileName, contentType string
}

var (
	// quoted matches a quoted parameter value. Outside quotes, * marks an encoded or split
	// parameter (RFC 2231).
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	partName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

// readPart parses a part's header. It returns an error if the header is ambiguous.
func readPart(header textproto.MIMEHeader) (part, error) {
	for _, values := range header {
		if slices.ContainsFunc(values, hasControl) {
			return part{}, invalid("The header of a part contains a control character.")
		}
	}
	lines := header["Content-Disposition"]
	if len(lines) != 1 {
		return part{}, invalid("Each part of the form needs exactly one Content-Disposition header.")
	}
	disposition, parameters, err := mime.ParseMediaType(lines[0])
	if err != nil || disposition != "form-data" || !partName.MatchString(parameters["name"]) ||
		strings.Contains(quoted.ReplaceAllString(lines[0], ""), "*") {
		return part{}, invalid(`Give each part of the form one plain name: Content-Disposition: form-data; name="…".`)
	}
	p := part{name: parameters["name"], fileName: parameters["filename"]}
	for _, encoding := range header["Content-Transfer-Encoding"] {
		if !slices.Contains([]string{"7bit", "8bit", "binary"}, strings.ToLower(strings.TrimSpace(encoding))) {
			return part{}, invalid("The part %q has a Content-Transfer-Encoding. Send it unencoded.", p.name)
		}
	}
	switch types := header["Content-Type"]; {
	case len(types) > 1:
		return part{}, invalid("The part %q has two Content-Type headers.", p.name)
	case len(types) == 1:
		p.contentType = strings.ToLower(strings.TrimSpace(types[0]))
	}
	if strings.Contains(p.contentType, "multipart/") || strings.Contains(p.contentType, "message/") {
		return part{}, invalid("The part %q has nested parts. Send each one as a part of the form.", p.name)
	}
	return p, nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

var _ io.Reader = (*parts)(nil)
