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

// Mollymawk's parser (Yojson) accepts more than JSON, and some of it ends the process:
// NaN and Infinity, numbers that become infinite, exponents of thousands of digits, and
// nesting without a limit. So only RFC 8259 is let through, and of that what every
// parser can hold.
const (
	maxDepth  = 64 // levels
	maxNumber = 64 // characters
)

// likeJSON matches what Yojson begins to read: it ignores the Content-Type, and takes
// comments for white space.
var likeJSON = regexp.MustCompile(`^[ \t\r\n]*(?:[{\[/"0-9]|-[0-9I]|NaN|Infinity)`)

// checkBody checks the body of a request to any path. Forms and texts have nothing that
// Mollymawk's parser would read.
func checkBody(body []byte) error {
	if !likeJSON.Match(body) {
		return nil
	}
	return checkJSON(body)
}

// checkJSON returns a *gate.BodyError unless a body is one JSON value that every parser
// reads in the same way, or empty. What the value means is Mollymawk's to check.
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
			return invalid("The JSON goes on after its end, at byte %d.", decoder.InputOffset())
		case decoder.StackDepth() > maxDepth:
			return invalid("The JSON is nested deeper than %d levels.", maxDepth)
		case token.Kind() == '0' && !bounded(token.String()):
			return invalid("A number of the JSON is too large or too long, at byte %d.", decoder.InputOffset())
		}
	}
}

// bounded reports whether a number is short, and finite as a double.
func bounded(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	value, err := strconv.ParseFloat(number, 64)
	return err == nil && !math.IsInf(value, 0)
}

// closing matches what stands between a value and the end of what it is in, if there is
// a comma: the handbook's examples have one.
var closing = regexp.MustCompile(`^[ \t\r\n]*,?[ \t\r\n]*([}\]])`)

// notANumber matches numbers that JSON doesn't have.
var notANumber = regexp.MustCompile(`^[ \t\r\n]*-?(?:NaN|Infinity|I)`)

// syntaxError says what is wrong with JSON that can't be read.
func syntaxError(body []byte, err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return invalid("The body is not JSON.")
	}
	at := min(int(syntax.ByteOffset), len(body))
	before, rest := bytes.TrimRight(body[:at], " \t\r\n"), body[at:]
	switch end := closing.FindSubmatch(rest); {
	case end != nil && (bytes.HasSuffix(before, []byte(",")) || bytes.Contains(end[0], []byte(","))):
		return invalid("The JSON has a comma before the %s at byte %d; remove the comma.", end[1], at+len(end[0])-1)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return invalid("The JSON has a member twice, at byte %d.", at)
	case bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte("/")):
		return invalid("The JSON has a comment at byte %d; remove it.", at)
	case notANumber.Match(rest):
		return invalid(
			"The JSON has NaN or Infinity at byte %d, which are no JSON; leave the member out or write a number.", at)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("The JSON ends too early; it may have been cut off.")
	}
	return invalid("The body is not JSON as RFC 8259 has it, see byte %d.", at)
}

func invalid(format string, args ...any) error {
	return &gate.BodyError{Detail: fmt.Sprintf(format, args...)}
}
