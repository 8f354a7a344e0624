package gate

import (
	"strings"
	"testing"
)

func TestConfigWord(t *testing.T) {
	t.Parallel()
	for _, shown := range []string{"", "molly", "unikernel:lis*", "GET,POST", "X-*", "/api//tokens", "/api/v1/tokens",
		"/x/:id"} {
		if got := ConfigWord(shown); got != `"`+shown+`"` {
			t.Errorf("%q: %s", shown, got)
		}
	}
	for _, hidden := range []string{upstreamToken, "x" + upstreamToken, upstreamToken + " ", "/" + upstreamToken,
		"/api/" + upstreamToken + "/x", "s3cret", strings.Repeat("x", 25), "/" + strings.Repeat("x", 25)} {
		if got := ConfigWord(hidden); strings.Contains(got, hidden) {
			t.Errorf("%q: %s", hidden, got)
		}
	}
}
