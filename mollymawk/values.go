package mollymawk

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// values are the named values in one part of a request: in its query, its JSON object or its
// form. Unlike the functions that adapt requests, they refuse everything that another program
// might read differently, because they decide which resources a key may use.
type values struct {
	// place names the part in errors, such as "The query".
	place   string
	members object
}

// readObject reads a JSON object and normalizes its spelling. Other programs read it the same
// way: it has no duplicate names at any depth, and no invalid UTF-8. The caller must have
// checked it with checkJSON.
func readObject(place string, text []byte) (values, error) {
	normalized := jsontext.Value(bytes.Clone(text))
	if err := normalized.Format(); err != nil {
		return values{}, invalid("%s must be a JSON object.", place)
	}
	members, ok := parseObject(normalized)
	if !ok {
		return values{}, invalid("%s must be a JSON object.", place)
	}
	return values{place, members}, nil
}

// find returns the index of the value called name, or -1 if there is none. Names are
// case-sensitive in Mollymawk but not in every program, so find refuses other spellings of
// name.
func (v values) find(name string) (int, error) {
	found := -1
	for i, m := range v.members {
		switch {
		case m.name == name && found >= 0:
			return -1, invalid("%s has %s twice.", v.place, name)
		case m.name == name:
			found = i
		case strings.EqualFold(m.name, name):
			return -1, invalid("%s has %.70q, which isn't read; write %s.", v.place, m.name, name)
		}
	}
	return found, nil
}

// text returns the value called name, which must be a string.
func (v values) text(name string) (string, error) {
	i, err := v.find(name)
	if err != nil {
		return "", err
	}
	if i < 0 {
		return "", invalid("%s is missing %s.", v.place, name)
	}
	text, ok := v.members.text(name)
	if !ok {
		return "", invalid("%s: %s must be a string.", v.place, name)
	}
	return text, nil
}

// setText replaces the value called name, if there is one.
func (v values) setText(name, text string) {
	if i := v.members.index(name); i >= 0 {
		v.members[i] = quotedMember(name, text)
	}
}
