package gate

import (
	"strconv"
	"strings"
)

// ConfigWord returns a wrong value of a configuration as an error quotes it, or says
// that it isn't shown: a value in the wrong place may be the backend's token. Shown are
// short words without digits, and paths of such words or of very short ones.
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
