package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestJSONErrors checks that errors name the option and don't quote anything long.
func TestJSONErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"max_body":1,"realm":"x"}`:                    "",
		`{"MAX_BODY":1}`:                                "",
		`{"max_body":1,"Max_Body":2}`:                   "max_body is specified twice",
		`{"max_body":"secret-secret"}`:                  "max_body: invalid value; write an integer",
		`{"body_timeout":"secret-secret"}`:              `body_timeout: invalid value; write a duration`,
		`{"secret-secret-secret-secret":1}`:             "unknown option (not shown",
		`{"custom_routes":[{"secret-0123456789ab":1}]}`: "custom_routes: unknown option (not shown",
		`["secret-secret"]`:                             "must be an object with options",
	} {
		err := json.Unmarshal([]byte(text), new(BearerAuth))
		if (want == "") != (err == nil) || err != nil &&
			(!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: got error %v, want one that contains %q", text, err, want)
		}
	}
}
