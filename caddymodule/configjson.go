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

// optionError is an error in a configuration's JSON. Its text never includes configured
// values.
type optionError string

func (e optionError) Error() string { return string(e) }

// UnmarshalOptions decodes a JSON object into the struct that options points to. Like Caddy,
// it returns an error for unknown members and values of the wrong type. Unlike encoding/json
// and caddy.ParseDuration, its errors never quote anything that may be a token.
func UnmarshalOptions(data []byte, options any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return optionError("must be an object with options")
	}
	fields, names := fieldsByOption(options)
	seen := make(map[string]bool)
	for member, value := range members {
		name := strings.ToLower(member) // encoding/json ignores letter case too
		field, ok := fields[name]
		if !ok {
			return optionError(fmt.Sprintf("unknown option %s; the options are %s", gate.ConfigWord(member),
				strings.Join(names, ", ")))
		}
		if seen[name] {
			return optionError(name + " is specified twice, with different letter case")
		}
		seen[name] = true
		err := json.Unmarshal(value, field.Addr().Interface())
		if inner, ok := errors.AsType[optionError](err); ok {
			return optionError(name+": ") + inner
		}
		if err != nil {
			return optionError(fmt.Sprintf("%s: invalid value; write %s", name, jsonKind(field.Type())))
		}
	}
	return nil
}

// fieldsByOption returns a struct's fields, keyed by JSON name, and the sorted names.
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

// jsonKind describes the JSON values that decode into type t.
func jsonKind(t reflect.Type) string {
	if t == durationType {
		return `a duration such as "30s"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Int, reflect.Int64:
		return "an integer"
	}
	return "an object"
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, a) }

// UnmarshalJSON implements json.Unmarshaler. It saves any decoding error for provision, which
// knows the account's name.
func (a *Account) UnmarshalJSON(data []byte) error {
	a.jsonErr = UnmarshalOptions(data, a)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *BoltStore) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, s) }

// UnmarshalJSON implements json.Unmarshaler.
func (h *BearerAuth) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, h) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *CustomRoute) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, c) }

// UnmarshalJSON implements json.Unmarshaler.
func (l *FailureLimit) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, l) }

// UnmarshalJSON implements json.Unmarshaler.
func (h *SiteAdmin) UnmarshalJSON(data []byte) error { return UnmarshalOptions(data, h) }

// Interface guards.
var (
	_ json.Unmarshaler = (*App)(nil)
	_ json.Unmarshaler = (*Account)(nil)
	_ json.Unmarshaler = (*BoltStore)(nil)
	_ json.Unmarshaler = (*BearerAuth)(nil)
	_ json.Unmarshaler = (*CustomRoute)(nil)
	_ json.Unmarshaler = (*FailureLimit)(nil)
	_ json.Unmarshaler = (*SiteAdmin)(nil)
)
