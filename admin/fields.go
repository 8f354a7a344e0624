package admin

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// The types below implement json.UnmarshalerFrom. At the top level of a body, they treat
// null as a missing member.

// text is a string in an array or object. Unlike string, it rejects null.
type text string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() != '"' {
		return ruleError("must contain only strings")
	}
	*t = text(unquote(value))
	return nil
}

// unquote returns the value of a JSON string that a decoder has read.
func unquote(value jsontext.Value) string {
	raw, _ := jsontext.AppendUnquote(nil, value) // the decoder has already validated it
	return string(raw)
}

func plain(texts []text) []string {
	if texts == nil {
		return nil
	}
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = string(t)
	}
	return out
}

// lifetime is "90d", "never" or a whole number of seconds.
type lifetime struct {
	token.Lifetime
	never bool
}

const (
	lifetimeForms = `write for example "12h", "90d", "6mo" or "2y", or a whole number of seconds`
	// maxLifetimeText is the maximum length of a lifetime, in bytes. It limits how much
	// input an error can repeat.
	maxLifetimeText = 12
)

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *lifetime) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	*l = lifetime{}
	switch value.Kind() {
	case 'n':
		return nil
	case '"':
		return l.parse(unquote(value))
	case '0':
		return l.seconds(string(value))
	}
	return ruleError(lifetimeForms)
}

func (l *lifetime) parse(form string) (err error) {
	switch {
	case form == "never":
		l.never = true
		return nil
	case len(form) > maxLifetimeText:
		return ruleError(lifetimeForms)
	}
	if l.Lifetime, err = token.ParseLifetime(form); err != nil {
		return ruleError(err.Error())
	}
	return nil
}

// seconds parses a JSON number. It rejects 1e3 and 1.0, because parsers disagree about
// whether these are integers.
func (l *lifetime) seconds(digits string) error {
	if strings.Trim(digits, "0123456789") != "" {
		return ruleError("must be a whole number of seconds, in digits only: " + lifetimeForms)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return ruleError("is too long")
	}
	if l.Lifetime, err = token.LifetimeOfSeconds(n); err != nil {
		return ruleError(err.Error())
	}
	return nil
}

// timestamp is an RFC 3339 time, with upper-case T and Z.
type timestamp struct {
	time.Time
}

const (
	// firstYear excludes the zero time, which represents a missing time.
	firstYear = 1970
	lastYear  = 9999

	timestampForm = `must be a time with a zone, for example "2030-12-31T23:59:59Z"`
)

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *timestamp) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	*t = timestamp{}
	switch value.Kind() {
	case 'n':
		return nil
	case '"':
	default:
		return ruleError(timestampForm)
	}
	var rule string
	if t.Time, rule = parseTime(unquote(value)); rule != "" {
		return ruleError(rule)
	}
	return nil
}

// parseTime parses a time. If the text is invalid, it returns the rule that the text
// violates.
func parseTime(text string) (t time.Time, rule string) {
	// Parse accepts more than the RFC allows (go.dev/issue/54580).
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil || !rfc3339.MatchString(text) {
		return time.Time{}, timestampForm
	}
	t = parsed.UTC()
	if year := t.Year(); year < firstYear || year > lastYear {
		return time.Time{}, "must be in the years " + strconv.Itoa(firstYear) + " to " + strconv.Itoa(lastYear)
	}
	return t, ""
}

var (
	_ json.UnmarshalerFrom = (*text)(nil)
	_ json.UnmarshalerFrom = (*lifetime)(nil)
	_ json.UnmarshalerFrom = (*timestamp)(nil)
)
