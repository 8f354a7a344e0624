package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestMistakesInJSON: a mistake names the option and quotes nothing long.
func TestMistakesInJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"max_body":1,"realm":"x"}`:                    "",
		`{"MAX_BODY":1}`:                                "",
		`{"max_body":1,"Max_Body":2}`:                   "max_body is given twice",
		`{"max_body":"secret-secret"}`:                  "max_body: its value can't be read; write a whole number",
		`{"body_timeout":"secret-secret"}`:              `body_timeout: its value can't be read; write a time`,
		`{"secret-secret-secret-secret":1}`:             "there is no option (not shown",
		`{"custom_routes":[{"secret-0123456789ab":1}]}`: "custom_routes: there is no option (not shown",
		`["secret-secret"]`:                             "write an object with options",
	} {
		err := json.Unmarshal([]byte(text), new(BearerAuth))
		if (want == "") != (err == nil) || err != nil &&
			(!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
