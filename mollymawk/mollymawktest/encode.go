package mollymawktest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// encode returns v as JSON in the format that Yojson 3 writes: compact, in order, and with
// non-ASCII bytes unescaped.
func encode(v any) string {
	var b strings.Builder
	encodeValue(&b, v)
	return b.String()
}

func encodeValue(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int:
		b.WriteString(strconv.Itoa(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		encodeFloat(b, v)
	case string:
		encodeString(b, v)
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			encodeValue(b, item)
		}
		b.WriteByte(']')
	case object:
		b.WriteByte('{')
		for i, m := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			encodeString(b, m.name)
			b.WriteByte(':')
			encodeValue(b, m.value)
		}
		b.WriteByte('}')
	default:
		panic(fmt.Sprintf("mollymawktest: can't encode a %T as JSON", v))
	}
}

// encodeFloat raises an exception for NaN and the infinities, which Yojson can parse but
// not encode.
func encodeFloat(b *strings.Builder, f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		raise("Json_error")
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if strings.Trim(text, "-0123456789") == "" {
		text += ".0"
	}
	b.WriteString(text)
}

func encodeString(b *strings.Builder, s string) {
	const digits = "0123456789abcdef"
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		short := strings.IndexByte("\"\\\b\f\n\r\t", c)
		switch {
		case short >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\bfnrt`[short])
		case c < ' ' || c == 0x7f:
			b.WriteString(`\u00`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// escaped escapes s like OCaml's String.escaped, which Mollymawk applies to quoted JSON and
// errors.
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		short := strings.IndexByte("\"\\\b\n\r\t", c)
		switch {
		case short >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\bnrt`[short])
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
