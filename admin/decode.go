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
	// maxBody is the maximum length of a request body, in bytes.
	maxBody = 1 << 20
	// maxDepth is the maximum nesting depth of objects and arrays.
	maxDepth = 32
	// maxValues is the maximum number of object members and array elements in a body. The
	// limit exists because decoding a value takes far longer than its length suggests.
	maxValues = 1000
)

// decode reads the request's JSON into the struct that into points to. All JSON input to
// the API goes through decode. The body must be UTF-8 and contain exactly one object.
// decode refuses unknown members. It also refuses duplicate members, even if their names
// differ in letter case, because parsers disagree about them (RFC 8259 section 4).
//
// The member types defined in this package return their own errors. No error repeats a
// member's value.
//
// The accepted media types are application/json and mediaTypes.
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

// decodeOptional reads a body that may be missing. A body of undeclared length may also be
// empty.
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

// decodeEmpty reads the body of a call that takes no input: the body must be missing or an
// empty object.
func (c *call) decodeEmpty() *Refusal {
	var empty struct{}
	return c.decodeOptional(&empty)
}

const (
	mediaTypeJSON   = "application/json"
	mediaTypeBinary = "application/octet-stream"
)

func checkMediaType(header http.Header, allowed ...string) *Refusal {
	for _, encoding := range header["Content-Encoding"] {
		if encoding != "" {
			return refuseError(codeMediaType, "Send the body without a Content-Encoding.")
		}
	}
	if types := header["Content-Type"]; len(types) == 1 {
		mediaType, parameters, err := mime.ParseMediaType(types[0])
		charset := parameters["charset"]
		if err == nil && slices.Contains(allowed, mediaType) && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	if allowed[0] == mediaTypeBinary {
		return refuseError(codeMediaType, "Send a single header 'Content-Type: "+mediaTypeBinary+"'.")
	}
	return refuseError(codeMediaType, "Send a single header 'Content-Type: "+allowed[len(allowed)-1]+
		"', and the body in UTF-8.")
}

// readBody reads the whole body within BodyTimeout and then authorizes the caller again.
func (c *call) readBody() ([]byte, *Refusal) {
	if c.r.ContentLength > c.maxBody {
		return nil, c.refuseLarge()
	}
	var body []byte
	if c.r.ContentLength != 0 {
		controller := http.NewResponseController(c.w)
		_ = controller.SetReadDeadline(time.Now().Add(c.BodyTimeout)) // not supported by all writers
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.maxBody)); err != nil {
			return nil, c.refuseBody(err)
		}
		_ = controller.SetReadDeadline(time.Time{}) // for the next request
		if int64(len(body)) < c.r.ContentLength {   // over HTTP/3, a short body isn't a read error
			return nil, c.refuseBody(io.ErrUnexpectedEOF)
		}
	}
	c.bodyRead = true
	return body, c.authorize()
}

// refuseBody returns the refusal for an error that occurred while reading the body.
func (c *call) refuseBody(err error) *Refusal {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return c.refuseLarge()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return refuseError(codeBodyTimeout,
			fmt.Sprintf("The body did not arrive within %v. Nothing was changed; send the request again.",
				c.BodyTimeout))
	}
	return refuseError(codeInvalidJSON, "The body is incomplete.")
}

func (c *call) refuseLarge() *Refusal {
	return refuseError(codeBodyTooLarge, fmt.Sprintf("The body must be at most %d bytes.", c.maxBody))
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

// checkForm performs the body checks that don't depend on the call.
func checkForm(body []byte) *Refusal {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return refuseError(codeInvalidJSON, "The body is empty. Send a JSON object.")
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return refuseError(codeInvalidJSON, "The body starts with a byte order mark. Remove it.")
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
	// The folded member names seen so far, per open object.
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
					fmt.Sprintf("The body has more than %d members and elements. Split it into several requests.",
						maxValues))
			}
		}
		switch kind {
		case '{', '[':
			if depth > maxDepth {
				return refuseError(codeInvalidJSON,
					fmt.Sprintf("The body is nested more than %d levels deep.", maxDepth))
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
					redact(fmt.Sprintf("The member %q appears twice; letter case is ignored.",
						shorten(token.String()))))
			}
			open[depth-1][name] = struct{}{}
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return refuseError(codeInvalidJSON, "There is more data after the JSON object.")
	}
	return nil
}

// fold maps names that differ only in letter case to the same string. It covers all of
// Unicode, because Go's own decoder treats "ſcopes" (U+017F) as "scopes".
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}

// refuseSyntax returns a refusal that gives the position of the syntax error. The refusal
// repeats at most one character of the body.
func refuseSyntax(err error) *Refusal {
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuseError(codeInvalidJSON, "The JSON is incomplete.")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuseError(codeInvalidJSON,
			redact(fmt.Sprintf("The member %q appears twice.", shorten(syntactic.JSONPointer.LastToken()))))
	case ok:
		return refuseError(codeInvalidJSON, fmt.Sprintf("The body isn't valid JSON at byte %d: %v.",
			syntactic.ByteOffset, syntactic.Err))
	}
	return refuseError(codeInvalidJSON, "The body isn't valid JSON.")
}

// ruleError is the rule that a member's value violates. This package's UnmarshalJSONFrom
// methods return it.
type ruleError string

func (e ruleError) Error() string { return string(e) }

// member returns the name of the top-level member that contains a pointer's target.
func member(pointer jsontext.Pointer) string {
	for name := range pointer.Tokens() {
		return name
	}
	return ""
}

// unknownRule returns the message for an unknown member. The message suggests the member
// that was probably meant, or else lists all known members.
func unknownRule(name string, of any) string {
	t := reflect.TypeOf(of).Elem()
	if t.NumField() == 0 {
		return "is unknown; this call takes no members"
	}
	known := make([]string, 0, t.NumField())
	for field := range t.Fields() {
		known = append(known, field.Tag.Get("json"))
	}
	if at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) }); at >= 0 {
		return "is unknown; did you mean " + known[at] + "?"
	}
	return "is unknown; known members are " + strings.Join(known, ", ")
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
		return "of a different type"
	}
}
