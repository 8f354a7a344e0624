package gate

import (
	"strconv"
	"strings"
)

// ConfigWord quotes an invalid configuration value for an error message. It replaces a value
// that may be a misplaced upstream token with a note. Only short words without digits, and
// paths made of short words or very short segments, are quoted.
func ConfigWord(value string) string {
	if mayBeToken(value) {
		return "(not shown: it may be a token)"
	}
	return strconv.Quote(value)
}

func mayBeToken(value string) bool {
	const word, shortWord = 24, 8 // bytes
	digits := func(s string) bool { return strings.ContainsAny(s, "0123456789") }
	if !strings.HasPrefix(value, "/") {
		return len(value) > word || digits(value)
	}
	for segment := range strings.SplitSeq(value, "/") {
		if len(segment) > word || len(segment) > shortWord && digits(segment) {
			return true
		}
	}
	return false
}
