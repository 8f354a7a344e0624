package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxBody is the most bytes of a request's body.
	maxBody = 1 << 20
	// maxDepth is how deep objects and arrays may be nested.
	maxDepth = 32
	// maxValues is the most members of objects and elements of arrays in a body,
	// counted together: each costs far more time than its bytes suggest.
	maxValues = 1000
)

// decode reads the request's JSON into a pointer to a struct. It is the only way
// that JSON gets in, and takes one spelling of everything: UTF-8, one object and
// nothing behind it, no member that is unknown or given twice, not even in
// another letter case (which parsers disagree about; RFC 8259 section 4).
//
// A member whose type is one of this package's says itself what is wrong with
// its value; no text repeats the value.
//
// Other media types than application/json are taken only if they are given.
func (c *call) decode(into any, mediaTypes ...string) *Refusal {
	if refusal := checkMediaType(c.r.Header, append(mediaTypes, mediaTypeJSON)...); refusal != nil {
		return refusal
	}
	body, refusal := c.readBody()
	if refusal != nil {
		return refusal
	}
	c.body = body
	return decode(body, into)
}

// decodeOptional reads a body that may be left out. One whose length isn't declared
// may turn out to be none.
func (c *call) decodeOptional(into any) *Refusal {
	wrong := checkMediaType(c.r.Header, mediaTypeJSON)
	if wrong != nil && c.r.ContentLength > 0 {
		return wrong
	}
	body, refusal := c.readBody()
	switch {
	case refusal != nil:
		return refusal
	case len(body) == 0:
		return nil
	case wrong != nil:
		return wrong
	}
	return decode(body, into)
}

// decodeNothing reads the body of a call that needs none: it may be an empty
// object.
func (c *call) decodeNothing() *Refusal {
	var nothing struct{}
	return c.decodeOptional(&nothing)
}

const mediaTypeJSON = "application/json"

func checkMediaType(header http.Header, allowed ...string) *Refusal {
	for _, encoding := range header["Content-Encoding"] {
		if encoding != "" {
			return refuseError(codeMediaType, "Send the body as it is: no Content-Encoding is taken.")
		}
	}
	if types := header["Content-Type"]; len(types) == 1 {
		mediaType, parameters, err := mime.ParseMediaType(types[0])
		charset := parameters["charset"]
		if err == nil && slices.Contains(allowed, mediaType) && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return refuseError(codeMediaType, "Send the header 'Content-Type: "+allowed[len(allowed)-1]+
		"', once, and the body as UTF-8.")
}

// readBody reads the whole body, within the time there is for it, and then checks
// that the caller may still call.
func (c *call) readBody() ([]byte, *Refusal) {
	if c.r.ContentLength > c.maxBody {
		return nil, c.refuseLarge()
	}
	var body []byte
	if c.r.ContentLength != 0 {
		controller := http.NewResponseController(c.w)
		_ = controller.SetReadDeadline(time.Now().Add(c.BodyTimeout)) // not all writers can
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.maxBody)); err != nil {
			return nil, c.refuseBody(err)
		}
		_ = controller.SetReadDeadline(time.Time{}) // for the next request
		if int64(len(body)) < c.r.ContentLength {   // no error of reading over HTTP/3
			return nil, c.refuseBody(io.ErrUnexpectedEOF)
		}
	}
	c.bodyRead = true
	return body, c.authorize()
}

// refuseBody refuses a request whose body could not be read.
func (c *call) refuseBody(err error) *Refusal {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return c.refuseLarge()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return refuseError(codeBodyTimeout,
			fmt.Sprintf("The body did not arrive within %v. Nothing was changed; send the request again.",
				c.BodyTimeout))
	}
	return refuseError(codeInvalidJSON, "The body broke off before its end.")
}

func (c *call) refuseLarge() *Refusal {
	return refuseError(codeBodyTooLarge, fmt.Sprintf("The body may have %d bytes at most.", c.maxBody))
}

func decode(body []byte, into any) *Refusal {
	if refusal := checkForm(body); refusal != nil {
		return refusal
	}
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return refuseSyntax(err)
	}
	field := member(semantic.JSONPointer)
	rule, isRule := errors.AsType[ruleError](err)
	switch {
	case isRule:
		return refuseField(field, string(rule))
	case errors.Is(err, json.ErrUnknownName):
		return refuseField(field, unknownRule(field, into))
	}
	return refuseField(field, "must be "+typeName(semantic.GoType))
}

// checkForm holds a body against everything that doesn't depend on what it is
// for.
func checkForm(body []byte) *Refusal {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return refuseError(codeInvalidJSON, "The body is empty. Send a JSON object.")
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return refuseError(codeInvalidJSON, "The body begins with a byte order mark. Send it without.")
	case !utf8.Valid(body):
		return refuseError(codeInvalidJSON, "The body isn't valid UTF-8.")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	if dec.PeekKind() != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return refuseSyntax(err)
		}
		return refuseError(codeInvalidJSON, "The body must be a JSON object.")
	}
	// The folded names seen so far, of each object that is still open.
	var open []map[string]struct{}
	values := 0
	for first := true; first || dec.StackDepth() > 0; first = false {
		token, err := dec.ReadToken()
		if err != nil {
			return refuseSyntax(err)
		}
		kind, depth := token.Kind(), dec.StackDepth()
		parent := depth
		if kind == '{' || kind == '[' {
			parent--
		}
		container, length := dec.StackIndex(parent)
		isName := container == '{' && length%2 == 1
		if parent > 0 && kind != '}' && kind != ']' && !isName {
			if values++; values > maxValues {
				return refuseError(codeInvalidJSON,
					fmt.Sprintf(
						"The body has more than %d members and elements in all. Split it into several requests.",
						maxValues))
			}
		}
		switch kind {
		case '{', '[':
			if depth > maxDepth {
				return refuseError(codeInvalidJSON, fmt.Sprintf("The body is nested more than %d deep.", maxDepth))
			}
			open = append(open, make(map[string]struct{}))
		case '}', ']':
			open = open[:depth]
		case '"':
			if !isName {
				continue
			}
			name := fold(token.String())
			if _, twice := open[depth-1][name]; twice {
				return refuseError(codeInvalidJSON,
					redact(fmt.Sprintf("The member %q is given twice; letter case makes no difference.",
						shorten(token.String()))))
			}
			open[depth-1][name] = struct{}{}
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return refuseError(codeInvalidJSON, "There is something behind the JSON object.")
	}
	return nil
}

// fold returns what all names have in common that differ by letter case only, in
// all of Unicode: Go's own decoder takes "ſcopes" (U+017F) for "scopes".
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}

// refuseSyntax says where the JSON is broken. Of the body it repeats a character
// at most.
func refuseSyntax(err error) *Refusal {
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuseError(codeInvalidJSON, "The JSON ends too early.")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuseError(codeInvalidJSON,
			redact(fmt.Sprintf("The member %q is given twice.", shorten(syntactic.JSONPointer.LastToken()))))
	case ok:
		return refuseError(codeInvalidJSON, fmt.Sprintf("The body isn't valid JSON at byte %d: %v.",
			syntactic.ByteOffset, syntactic.Err))
	}
	return refuseError(codeInvalidJSON, "The body isn't valid JSON.")
}

// ruleError says what a member must be. It is returned by the types that read
// themselves.
type ruleError string

func (e ruleError) Error() string { return string(e) }

// member returns the name of the top-level member that a pointer leads into.
func member(pointer jsontext.Pointer) string {
	for name := range pointer.Tokens() {
		return name
	}
	return ""
}

// unknownRule tells the members there are, and the one that was probably meant.
func unknownRule(name string, of any) string {
	t := reflect.TypeOf(of).Elem()
	if t.NumField() == 0 {
		return "isn't known; this call takes nothing"
	}
	known := make([]string, 0, t.NumField())
	for field := range t.Fields() {
		known = append(known, field.Tag.Get("json"))
	}
	if at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) }); at >= 0 {
		return "isn't known; did you mean " + known[at] + "?"
	}
	return "isn't known; known are " + strings.Join(known, ", ")
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list of strings"
	case reflect.Map:
		return "an object whose values are strings"
	case reflect.Int64:
		return "a whole number"
	default:
		return "of another type"
	}
}
