package mollymawk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/gate"
)

// Mollymawk's parser (Yojson) accepts more than standard JSON, and some of what it accepts
// crashes Mollymawk: NaN and Infinity, numbers that overflow to infinity, exponents with
// thousands of digits, and very deep nesting. So the gate accepts only RFC 8259 JSON within
// these limits, which every parser supports.
const (
	maxDepth  = 64 // levels
	maxNumber = 64 // characters
)

// likeJSON matches bodies that Yojson would try to parse. Mollymawk ignores the
// Content-Type, and Yojson treats comments as white space.
var likeJSON = regexp.MustCompile(`^[ \t\r\n]*(?:[{\[/"0-9]|-[0-9I]|NaN|Infinity)`)

// checkBody implements gate.Table.CheckBody. It accepts any body that doesn't look like
// JSON, such as a form, because Mollymawk's parser rejects such bodies at the first
// character.
func checkBody(body []byte) error {
	if !likeJSON.Match(body) {
		return nil
	}
	return checkJSON(body)
}

// checkJSON returns a *gate.BodyError unless body is empty or a single JSON value that
// every parser reads the same way. It doesn't check what the value means; Mollymawk does.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	for ended := false; ; ended = decoder.StackDepth() == 0 {
		token, err := decoder.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && ended:
			return nil
		case err != nil:
			return syntaxError(body, err)
		case ended:
			return invalid("The JSON value is followed by more text at byte %d.", decoder.InputOffset())
		case decoder.StackDepth() > maxDepth:
			return invalid("The JSON is nested deeper than %d levels.", maxDepth)
		case token.Kind() == '0' && !bounded(token.String()):
			return invalid("The JSON has a number that is too large or too long at byte %d.", decoder.InputOffset())
		}
	}
}

// bounded reports whether a number is at most maxNumber characters long and finite as a
// double.
func bounded(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	value, err := strconv.ParseFloat(number, 64)
	return err == nil && !math.IsInf(value, 0)
}

// closing matches the end of an object or array, with an optional trailing comma. Some of
// the handbook's examples contain a trailing comma.
var closing = regexp.MustCompile(`^[ \t\r\n]*,?[ \t\r\n]*([}\]])`)

// notANumber matches NaN and Infinity, which JSON doesn't allow.
var notANumber = regexp.MustCompile(`^[ \t\r\n]*-?(?:NaN|Infinity|I)`)

// syntaxError returns an error that explains to the client why body can't be parsed.
func syntaxError(body []byte, err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return invalid("The body isn't JSON.")
	}
	at := min(int(syntax.ByteOffset), len(body))
	before, rest := bytes.TrimRight(body[:at], " \t\r\n"), body[at:]
	switch end := closing.FindSubmatch(rest); {
	case end != nil && (bytes.HasSuffix(before, []byte(",")) || bytes.Contains(end[0], []byte(","))):
		return invalid("The JSON has a trailing comma before the %s at byte %d; remove the comma.", end[1],
			at+len(end[0])-1)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return invalid("The JSON has a duplicate member at byte %d.", at)
	case bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte("/")):
		return invalid("The JSON has a comment at byte %d; remove it.", at)
	case notANumber.Match(rest):
		return invalid(
			"The JSON has NaN or Infinity at byte %d, which JSON doesn't allow; omit the member or use a number.", at)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("The JSON ends unexpectedly; it may be truncated.")
	}
	return invalid("The body isn't valid JSON (RFC 8259); see byte %d.", at)
}

func invalid(format string, args ...any) error {
	return &gate.BodyError{Detail: fmt.Sprintf(format, args...)}
}
