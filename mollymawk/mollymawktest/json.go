package mollymawktest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// object is a JSON object with all its members, in order and including duplicates. Other
// JSON values have the type bool, int64, float64, string or []any, or are nil. encode also
// accepts int.
type object []member

type member struct {
	name  string
	value any
}

// get returns the value of the first member with this name.
func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// get returns the value of the first member with this name if it has type T.
func get[T any](o object, name string) (T, bool) {
	value, _ := o.get(name)
	typed, ok := value.(T)
	return typed, ok
}

// parseJSON parses Yojson's dialect (ocaml-community/yojson, lib/read.mll), which has
// comments, NaN and Infinity, unquoted names, and strings with raw control characters.
// Parsing a value that is nested too deeply raises an exception.
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

// jsonError is an error with Yojson's text, which Mollymawk sends to the client.
type jsonError string

func (e jsonError) Error() string { return escaped(string(e)) }

// maxDepth is the nesting depth at which Yojson's recursive parser overflows its 8 MiB
// stack.
const maxDepth = 160_000

type jsonParser struct {
	text string
	at   int
	err  error
}

// fail records an error with Yojson's text: what, followed by the input from p.at onward.
// As in Yojson, the quoted input may be one byte shorter than the reported range.
func (p *jsonParser) fail(what string) {
	if p.at >= len(p.text) {
		p.failAt(p.at-1, p.at, "Unexpected end of input")
		return
	}
	junk := p.text[p.at:min(len(p.text), p.at+33)]
	p.failAt(p.at, min(len(p.text), p.at+34), what+" '"+junk+"'")
}

// failAt records an error unless one has been recorded already. It includes the byte range
// within the line, as Yojson reports it.
func (p *jsonParser) failAt(from, to int, what string) {
	if p.err != nil {
		return
	}
	begin := strings.LastIndexByte(p.text[:min(to, len(p.text))], '\n') + 1
	position := fmt.Sprintf("bytes %d-%d", from-begin, to-begin)
	if from == to {
		position = fmt.Sprintf("byte %d", to-begin)
	}
	p.err = jsonError(fmt.Sprintf("Line %d, %s:\n%s", 1+strings.Count(p.text[:begin], "\n"), position, what))
}

// accept skips text if it comes next and reports whether it did.
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
				p.failAt(len(p.text), len(p.text), "Unterminated comment ''")
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
	case depth >= maxDepth:
		raise("Stack_overflow")
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

// number parses the longest possible number. Any text after the number causes the next
// error.
func (p *jsonParser) number() any {
	start := p.at
	p.accept("-")
	switch n := p.digits(p.at); {
	case n == 0:
		p.at = start
		p.fail("Invalid token")
		return nil
	case p.text[p.at] == '0':
		p.at++ // nothing may follow a leading zero
	default:
		p.at += n
	}
	whole := true
	if strings.HasPrefix(p.text[p.at:], ".") {
		if n := p.digits(p.at + 1); n > 0 {
			p.at += 1 + n
			whole = false
		}
	}
	if rest := p.text[p.at:]; rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		sign := 1
		if len(rest) > 1 && (rest[1] == '+' || rest[1] == '-') {
			sign = 2
		}
		if n := p.digits(p.at + sign); n > 0 {
			p.at += sign + n
			whole = false
		}
	}
	text := p.text[start:p.at]
	if !whole {
		f, _ := strconv.ParseFloat(text, 64) // infinity if out of range
		return f
	}
	n, err := strconv.ParseInt(text, 10, 63) // OCaml integers have 63 bits
	if err != nil {
		p.failAt(start-1, p.at, "Int overflow '"+text+"'")
	}
	return n
}

// digits returns the number of digits at a position.
func (p *jsonParser) digits(at int) (n int) {
	for at+n < len(p.text) && p.text[at+n] >= '0' && p.text[at+n] <= '9' {
		n++
	}
	return n
}

// string parses the rest of a string after the opening quote.
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
		b.WriteRune(p.unicode())
	default:
		p.fail("Invalid escape sequence")
	}
}

// unicode parses a \u escape, starting at the u.
func (p *jsonParser) unicode() rune {
	r, ok := p.fourDigits(p.at + 1)
	if !ok {
		p.fail("Invalid escape sequence")
		return 0
	}
	p.at += 5
	if r < 0xD800 || r > 0xDBFF {
		return r
	}
	low, ok := p.fourDigits(p.at + 2)
	switch {
	case !strings.HasPrefix(p.text[p.at:], `\u`) || !ok:
		p.fail("Missing escape sequence representing low surrogate for code point beyond U+FFFF")
	case low < 0xDC00 || low > 0xDFFF:
		p.fail("Invalid low surrogate for code point beyond U+FFFF")
	}
	p.at = min(p.at+6, len(p.text))
	return utf16.DecodeRune(r, low)
}

func (p *jsonParser) fourDigits(at int) (rune, bool) {
	if at+4 > len(p.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[at:at+4], 16, 16)
	return rune(n), err == nil
}
