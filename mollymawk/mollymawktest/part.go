package mollymawktest

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

// eachPart calls use with each decoded part of a form until use returns false. It parses
// the form like multipart_form 5d01e12. If a part is itself multipart, eachPart replaces it
// with its own parts. eachPart reports whether it reached the end of the form.
func eachPart(form io.Reader, boundary string, use func(name string, content io.Reader) bool) bool {
	if boundary == "" {
		return false
	}
	parts := multipart.NewReader(form, boundary)
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		kind, params, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if strings.HasPrefix(kind, "multipart/") {
			if !eachPart(part, params["boundary"], use) {
				return false
			}
			continue
		}
		if !use(partName(part.Header["Content-Disposition"]), decoded(part)) {
			return false
		}
	}
}

// partName returns a part's name. If there are several name parameters or headers, the last
// one counts.
func partName(dispositions []string) (name string) {
	if len(dispositions) == 0 {
		return ""
	}
	_, rest, _ := strings.Cut(dispositions[len(dispositions)-1], ";")
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var value string
		value, rest = parameterValue(strings.TrimLeft(after, " \t"))
		if strings.EqualFold(strings.Trim(key, "; \t"), "name") {
			name = value
		}
	}
	return name
}

// parameterValue parses a token or a quoted string. It also returns the remaining text.
func parameterValue(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		n := strings.IndexAny(text, "; \t")
		if n < 0 {
			n = len(text)
		}
		return text[:n], text[n:]
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:]
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), ""
}

// decoded returns a part's content without its transfer encoding. As in multipart_form,
// quoted-printable content gets an extra line ending.
func decoded(part *multipart.Part) io.Reader {
	content := partContent{part}
	switch strings.ToLower(strings.Trim(part.Header.Get("Content-Transfer-Encoding"), " \t")) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, content)
	case "quoted-printable":
		return io.MultiReader(quotedprintable.NewReader(content), strings.NewReader("\n"))
	}
	return content
}

// partContent reads a part's content and treats the end of the body as the end of the part.
type partContent struct{ r io.Reader }

// Read implements io.Reader.
func (p partContent) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

var _ io.Reader = partContent{}
