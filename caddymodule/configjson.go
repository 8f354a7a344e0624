package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/gate"
)

// optionError is a mistake in the JSON of a configuration. Its text holds no value.
type optionError string

func (e optionError) Error() string { return string(e) }

// unmarshalOptions fills the struct that options points to from a JSON object. A member
// that isn't an option is an error, as it is for Caddy, and so is a value of another type.
// In contrast to the errors of encoding/json and caddy.ParseDuration, those here quote
// nothing that may be a token.
func unmarshalOptions(data []byte, options any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return optionError("write an object with options")
	}
	fields, names := fieldsByOption(options)
	seen := make(map[string]bool)
	for member, value := range members {
		name := strings.ToLower(member) // encoding/json ignores letter case, too
		field, ok := fields[name]
		if !ok {
			return optionError(fmt.Sprintf("there is no option %s; there are %s", gate.ConfigWord(member),
				strings.Join(names, ", ")))
		}
		if seen[name] {
			return optionError(name + " is given twice, in different letter case")
		}
		seen[name] = true
		err := json.Unmarshal(value, field.Addr().Interface())
		if inner, ok := errors.AsType[optionError](err); ok {
			return optionError(name+": ") + inner
		}
		if err != nil {
			return optionError(fmt.Sprintf("%s: its value can't be read; write %s", name, jsonKind(field.Type())))
		}
	}
	return nil
}

// fieldsByOption returns the fields of a struct by the names that they have in JSON,
// and those names in order.
func fieldsByOption(options any) (fields map[string]reflect.Value, names []string) {
	fields = make(map[string]reflect.Value)
	value := reflect.ValueOf(options).Elem()
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		if name != "" {
			fields[name] = value.Field(i)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fields, names
}

var durationType = reflect.TypeFor[caddy.Duration]()

// jsonKind says what a value of a type is in JSON.
func jsonKind(t reflect.Type) string {
	if t == durationType {
		return `a time such as "30s"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "an object"
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, a) }

// UnmarshalJSON implements json.Unmarshaler. It leaves a mistake to provision, which
// knows the account's name.
func (a *Account) UnmarshalJSON(data []byte) error {
	a.mistake = unmarshalOptions(data, a)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *BoltStore) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, s) }

// UnmarshalJSON implements json.Unmarshaler.
func (h *BearerAuth) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, h) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *CustomRoute) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, c) }

// UnmarshalJSON implements json.Unmarshaler.
func (l *FailureLimit) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, l) }

// UnmarshalJSON implements json.Unmarshaler.
func (h *SiteAdmin) UnmarshalJSON(data []byte) error { return unmarshalOptions(data, h) }

// Interface guards
var (
	_ json.Unmarshaler = (*App)(nil)
	_ json.Unmarshaler = (*Account)(nil)
	_ json.Unmarshaler = (*BoltStore)(nil)
	_ json.Unmarshaler = (*BearerAuth)(nil)
	_ json.Unmarshaler = (*CustomRoute)(nil)
	_ json.Unmarshaler = (*FailureLimit)(nil)
	_ json.Unmarshaler = (*SiteAdmin)(nil)
)
