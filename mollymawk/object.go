package mollymawk

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// object holds a JSON object's members, in order. It contains no duplicate names, because
// Mollymawk would use the first member and Go the last, and no comments, because only
// Mollymawk's parser accepts them.
type object []member

type member struct {
	name string
	// value is the original JSON text.
	value jsontext.Value
}

// parseObject parses a body that is a single JSON object (RFC 8259). It reports false for
// anything else, including invalid UTF-8 and duplicate names at any depth.
func parseObject(body []byte) (object, bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginObject {
		return nil, false
	}
	var members object
	for decoder.PeekKind() == jsontext.KindString {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, false
		}
		m := member{name: name.String()} // the next read invalidates the token
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, false
		}
		m.value = value.Clone()
		members = append(members, m)
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, false
	}
	_, err := decoder.ReadToken()
	return members, errors.Is(err, io.EOF)
}

func (o object) index(name string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.name == name })
}

// text returns the value of the member called name if that value is a string.
func (o object) text(name string) (text string, ok bool) {
	i := o.index(name)
	if i < 0 || o[i].value.Kind() != jsontext.KindString {
		return "", false
	}
	return o[i].text(), true
}

// text returns a string's text.
func (m member) text() string {
	unquoted, _ := jsontext.AppendUnquote(nil, m.value) // fails only for values that aren't strings
	return string(unquoted)
}

func (o object) without(names ...string) object {
	return slices.DeleteFunc(o, func(m member) bool { return slices.Contains(names, m.name) })
}

// append appends the object's JSON to b.
func (o object) append(b []byte) []byte {
	b = append(b, '{')
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, m.name) // fails only for invalid UTF-8
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}
