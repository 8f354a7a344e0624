package gate

import (
	"strings"
	"testing"
)

func TestConfigWord(t *testing.T) {
	t.Parallel()
	for _, quoted := range []string{"", "molly", "unikernel:lis*", "GET,POST", "X-*", "/api//tokens", "/api/v1/tokens",
		"/x/:id"} {
		if got := ConfigWord(quoted); got != `"`+quoted+`"` {
			t.Errorf("%q: got %s, want it quoted", quoted, got)
		}
	}
	for _, hidden := range []string{upstreamToken, "x" + upstreamToken, upstreamToken + " ", "/" + upstreamToken,
		"/api/" + upstreamToken + "/x", "s3cret", strings.Repeat("x", 25), "/" + strings.Repeat("x", 25)} {
		if got := ConfigWord(hidden); strings.Contains(got, hidden) {
			t.Errorf("%q: got %s, want it hidden", hidden, got)
		}
	}
}
