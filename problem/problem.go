// Package problem defines the form of all errors that Mollygate returns over HTTP: problem
// details (RFC 9457) that Mollymawk clients can also read, because they include the success
// and data members of Mollymawk's envelope.
package problem

import (
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// contentType is the media type of the body.
const contentType = "application/problem+json"

// typeBase is the URL of the page that explains the codes, without the anchor, which is the
// code.
const typeBase = "https://github.com/mollygate/mollygate/blob/main/docs/errors.md#"

// Problem is an error as the client sees it. It never contains a secret.
type Problem struct {
	Status int
	// Code is stable and meant for programs. It consists of lower-case letters and underscores.
	Code string
	// Title is the same for all problems with the same code. Detail describes this particular
	// problem and what to do about it.
	Title  string
	Detail string
	// Members are added to the body in order.
	Members []Member
}

// Member is an additional member of the body.
type Member struct {
	Name  string
	Value any
}

// With returns a copy of the problem with an additional member.
func (p Problem) With(name string, value any) Problem {
	p.Members = append(slices.Clip(p.Members), Member{Name: name, Value: value})
	return p
}

// appendJSON appends the body. It mostly avoids reflection to keep a flood of refusals cheap.
func (p Problem) appendJSON(b []byte) []byte {
	b = append(append(b, `{"type":"`+typeBase...), p.Code...)
	b = appendString(append(b, `","title":`...), p.Title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
	b = append(b, `,"detail":`...)
	start := len(b)
	b = appendString(b, p.Detail)
	detail := b[start:]
	b = append(append(b, `,"code":"`...), p.Code...)
	b = append(append(b, `","success":false,"data":`...), detail...)
	for _, m := range p.Members {
		b = append(appendString(append(b, ','), m.Name), ':')
		b = appendValue(b, m.Value)
	}
	return append(b, '}')
}

// appendString appends a JSON string, with invalid UTF-8 replaced.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

func appendValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendString(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	}
	text, err := json.Marshal(value, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		text = []byte("null") // can't happen with our members; the rest is still valid
	}
	return append(b, text...)
}

// Write writes the problem as the response. Set additional headers before calling it.
func Write(w http.ResponseWriter, p Problem) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	*buffer = p.appendJSON((*buffer)[:0])
	body := *buffer
	h := w.Header()
	values := []string{contentType, strconv.Itoa(len(body)), "no-store", "nosniff"} // a single allocation
	for i, name := range [...]string{"Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options"} {
		h[name] = values[i : i+1 : i+1]
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client may be gone
}

// buffers holds buffers for bodies. No one uses a buffer after Write has returned, because writers
// must not keep what they are passed (see [io.Writer]).
var buffers = sync.Pool{New: func() any {
	buffer := make([]byte, 0, 768) // large enough for most bodies
	return &buffer
}}
