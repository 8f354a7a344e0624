package mollymawk

import (
	"errors"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
)

func TestCheckBody(t *testing.T) {
	nested := func(depth int, open, end string) string {
		return strings.Repeat(open, depth) + strings.Repeat(end, depth)
	}
	for body, want := range map[string]string{
		// Bodies that all parsers read the same way, and bodies that no parser reads as
		// JSON.
		"":                            "",
		" \r\n\t":                     "",
		`{"a":[1,-0.5e-3,true,null]}`: "",
		" {} \n":                      "",
		`[{"name":"a"},{"name":"b"}]`: "",
		`{"n":1e308}`:                 "",
		nested(64, "[", "]"):          "",
		"--b\r\n\r\nx\r\n--b--\r\n":   "",
		"name=x&NaN=1":                "",
		"nothing":                     "",
		"\"text\"":                    "",
		// Values that crash Mollymawk, and similar values.
		`{"email":NaN}`:        "NaN or Infinity",
		`NaN`:                  "NaN or Infinity",
		` Infinity`:            "NaN or Infinity",
		`-Infinity`:            "NaN or Infinity",
		`{"a":-Infinity}`:      "NaN or Infinity",
		`{"a":Infinity}`:       "NaN or Infinity",
		`{"a":1e999}`:          "too large or too long",
		`{"a":[{"b":-1e309}]}`: "too large or too long",
		"1e999":                "too large or too long",
		`{"a":1e` + strings.Repeat("9", 5000) + "}": "too large or too long",
		`{"a":` + strings.Repeat("9", 65) + "}":     "too large or too long",
		nested(65, "[", "]"):                        "deeper than 64",
		nested(160000, `{"a":`, "}"):                "deeper than 64",
		nested(160000, `[`, ""):                     "deeper than 64",
		// Bodies that parsers read differently.
		`{"a":1,"a":2}`:              "duplicate",
		`{"x":[{"a":1,"\u0061":2}]}`: "duplicate",
		`{"a":1,}`:                   "comma before the } at byte 7",
		"[1,2,\n ]":                  "comma before the ] at byte 7",
		`{/**/}`:                     "comment",
		`/* {} */ {}`:                "comment",
		"// x\n{}":                   "comment",
		`{"a":1} {"b":2}`:            "followed by more text",
		`{} NaN`:                     "NaN or Infinity",
		`{"a":01}`:                   "see byte",
		`{'a':1}`:                    "see byte",
		`{a:1}`:                      "see byte",
		`{"a":"\xff"}`:               "see byte",
		"{\"a\":\"\x80\"}":           "see byte",
		`{"a":"\ud800"}`:             "see byte",
		"{\"a\":\"\n\"}":             "see byte",
		`{"a":1`:                     "ends unexpectedly",
		`{"a":`:                      "ends unexpectedly",
		`{"a":<"x">}`:                "see byte",
		`{"a":(1,2)}`:                "see byte",
	} {
		err := checkBody([]byte(body))
		invalid, _ := errors.AsType[*gate.BodyError](err)
		if (want == "") != (err == nil) || want != "" && (invalid == nil || !strings.Contains(invalid.Detail, want)) {
			t.Errorf("%.60q: got error %v, want %q", body, err, want)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, body := range []string{"", "{}", `{"a":1,}`, `{"a":NaN}`, "[[[]]]", `{"a":1e999}`, "/**/{}",
		`{"a":"\u00e9"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if checkBody(body) != nil || !likeJSON.Match(body) {
			return
		}
		// A strict parser can read every accepted body.
		if err := checkJSON(body); err != nil {
			t.Fatalf("reading the accepted body %q: %v", body, err)
		}
		if _, ok := parseObject(body); strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{") && !ok {
			t.Fatalf("%q is accepted but can't be parsed", body)
		}
	})
}
