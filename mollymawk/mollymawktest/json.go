package mollymawktest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// object is a JSON object in order and with all its members, also those of the
// same name. The other values are nil, bool, int64, float64, string and []any;
// int too, where it is written.
type object []member

type member struct {
	name  string
	value any
}

// get returns the value of the first member of this name.
func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// get returns the first member of this name if its value is of this type.
func get[T any](o object, name string) (T, bool) {
	value, _ := o.get(name)
	typed, ok := value.(T)
	return typed, ok
}

// parseJSON reads the dialect of Yojson (ocaml-community/yojson, lib/read.mll):
// it knows comments, NaN and Infinity, names without quotes and strings with raw
// control characters.
func parseJSON(text string) (any, error) {
	p := jsonParser{text: text}
	p.space()
	if p.err == nil && p.at == len(text) {
		return nil, jsonError("Blank input data")
	}
	value := p.value(0)
	p.space()
	if p.err == nil && p.at < len(text) {
		p.fail("Junk after end of JSON value:")
	}
	return value, p.err
}

// jsonError is an error in Yojson's words, which the client is shown.
type jsonError string

func (e jsonError) Error() string { return escaped(string(e)) }

// maxDepth bounds how deep values are nested, for our stack's sake.
const maxDepth = 1000

type jsonParser struct {
	text string
	at   int
	err  error
}

// fail notes the first error in Yojson's words.
func (p *jsonParser) fail(what string) {
	if p.err != nil {
		return
	}
	line := 1 + strings.Count(p.text[:p.at], "\n")
	column := p.at - strings.LastIndexByte(p.text[:p.at], '\n') - 1
	if p.at >= len(p.text) {
		p.err = jsonError(fmt.Sprintf("Line %d, byte %d:\nUnexpected end of input", line, column))
		return
	}
	junk := p.text[p.at:min(len(p.text), p.at+33)]
	p.err = jsonError(fmt.Sprintf("Line %d, bytes %d-%d:\n%s '%s'", line, column, column+len(junk), what, junk))
}

// accept skips a text if it comes next.
func (p *jsonParser) accept(text string) bool {
	if p.err != nil || !strings.HasPrefix(p.text[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

func (p *jsonParser) space() {
	for p.err == nil && p.at < len(p.text) {
		rest := p.text[p.at:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			p.at++
		case strings.HasPrefix(rest, "//"):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				p.at += n
			} else {
				p.at = len(p.text)
			}
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				p.fail("Unterminated comment")
				return
			}
			p.at += n + 4
		default:
			return
		}
	}
}

func (p *jsonParser) value(depth int) any {
	p.space()
	switch {
	case p.err != nil:
		return nil
	case depth > maxDepth:
		p.fail("Too deep")
		return nil
	case p.accept("true"):
		return true
	case p.accept("false"):
		return false
	case p.accept("null"):
		return nil
	case p.accept("NaN"):
		return math.NaN()
	case p.accept("Infinity"):
		return math.Inf(1)
	case p.accept("-Infinity"):
		return math.Inf(-1)
	case p.accept(`"`):
		return p.string()
	case p.accept("{"):
		return p.object(depth)
	case p.accept("["):
		return p.array(depth)
	}
	return p.number()
}

func (p *jsonParser) object(depth int) any {
	o := object{}
	p.space()
	if p.accept("}") {
		return o
	}
	for p.err == nil {
		p.space()
		name := p.name()
		p.space()
		if !p.accept(":") {
			p.fail("Expected ':' but found")
		}
		o = append(o, member{name, p.value(depth + 1)})
		p.space()
		if p.accept("}") {
			return o
		}
		if !p.accept(",") {
			p.fail("Expected ',' or '}' but found")
		}
	}
	return nil
}

func (p *jsonParser) name() string {
	if p.accept(`"`) {
		return p.string()
	}
	start := p.at
	for p.err == nil && p.at < len(p.text) {
		c := p.text[p.at]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (p.at == start || c < '0' || c > '9') {
			break
		}
		p.at++
	}
	if p.at == start {
		p.fail("Expected string or identifier but found")
	}
	return p.text[start:p.at]
}

func (p *jsonParser) array(depth int) any {
	list := []any{}
	p.space()
	if p.accept("]") {
		return list
	}
	for p.err == nil {
		list = append(list, p.value(depth+1))
		p.space()
		if p.accept("]") {
			return list
		}
		if !p.accept(",") {
			p.fail("Expected ',' or ']' but found")
		}
	}
	return nil
}

func (p *jsonParser) number() any {
	start := p.at
	p.accept("-")
	p.digits()
	whole := true
	if p.accept(".") {
		whole = false
		p.digits()
	}
	if p.accept("e") || p.accept("E") {
		whole = false
		if !p.accept("+") {
			p.accept("-")
		}
		p.digits()
	}
	if p.err != nil {
		return nil
	}
	text := p.text[start:p.at]
	if !whole {
		f, _ := strconv.ParseFloat(text, 64) // out of range is an infinity
		return f
	}
	n, err := strconv.ParseInt(text, 10, 63) // OCaml's integers
	if err != nil {
		p.at = start
		p.fail("Int overflow")
	}
	return n
}

func (p *jsonParser) digits() {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	if p.at == start {
		p.fail("Invalid token")
	}
}

// string reads on after the opening quote.
func (p *jsonParser) string() string {
	var b strings.Builder
	for p.err == nil {
		n := strings.IndexAny(p.text[p.at:], `"\`)
		if n < 0 {
			p.at = len(p.text)
			p.fail("")
			break
		}
		b.WriteString(p.text[p.at : p.at+n])
		p.at += n
		if p.accept(`"`) {
			break
		}
		p.at++ // the backslash
		p.escape(&b)
	}
	return b.String()
}

func (p *jsonParser) escape(b *strings.Builder) {
	if p.at == len(p.text) {
		p.fail("")
		return
	}
	c := p.text[p.at]
	i := strings.IndexByte(`"\/bfnrt`, c)
	switch {
	case i >= 0:
		p.at++
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
	case c == 'u':
		p.at++
		b.WriteRune(p.unicode())
	default:
		p.fail("Invalid escape sequence")
	}
}

func (p *jsonParser) unicode() rune {
	r := p.fourDigits()
	if r < 0xD800 || r > 0xDBFF {
		return r
	}
	if !p.accept(`\u`) {
		p.fail("Missing escape sequence representing low surrogate for code point beyond U+FFFF")
		return 0
	}
	r = utf16.DecodeRune(r, p.fourDigits())
	if r == utf8.RuneError {
		p.fail("Invalid low surrogate for code point beyond U+FFFF")
	}
	return r
}

func (p *jsonParser) fourDigits() rune {
	if p.err != nil || p.at+4 > len(p.text) {
		p.at = len(p.text)
		p.fail("")
		return 0
	}
	n, err := strconv.ParseUint(p.text[p.at:p.at+4], 16, 16)
	if err != nil {
		p.fail("Invalid escape sequence")
		return 0
	}
	p.at += 4
	return rune(n)
}
