package mollymawktest

import (
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		` {"a" : [1,-2,3.5,1e2,true,false,null], "a":{} } `: `{"a":[1,-2,3.5,100.0,true,false,null],"a":{}}`,
		"/*x*/{a:1,//y\n_b2:\"\"}//z":                       `{"a":1,"_b2":""}`,
		"\"raw\tand\\t\\u00e4\\ud83d\\ude00\\/\\\"\"":       `"raw\tand\tä😀/\""`,
		"\"\x7f\xff\"":              "\"\\u007f\xff\"",
		`[0,-0,10,0.5,1E-2,1e-999]`: `[0,0,10,0.5,0.01,0.0]`,
	} {
		value, err := parseJSON(text)
		if err != nil {
			t.Errorf("parsing %s: got error %v, want none", text, err)
		} else if got := encode(value); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "Blank input data",
		" // only a comment":  "Blank input data",
		"{":                   `Line 1, bytes 0-1:\nUnexpected end of input`,
		"x":                   `Line 1, bytes 0-1:\nInvalid token 'x'`,
		"{}\nx":               `Line 2, bytes 0-1:\nJunk after end of JSON value: 'x'`,
		"[1 2]":               `Line 1, bytes 3-5:\nExpected ',' or ']' but found '2]'`,
		"9223372036854775807": `Line 1, bytes -1-19:\nInt overflow '9223372036854775807'`,
		`"\x"`:                `Line 1, bytes 2-4:\nInvalid escape sequence 'x\"'`,
		`"abc`:                `Line 1, bytes 3-4:\nUnexpected end of input`,
		`{"a" 1}`:             `Line 1, bytes 5-7:\nExpected ':' but found '1}'`,
		`{1:1}`:               `Line 1, bytes 1-5:\nExpected string or identifier but found '1:1}'`,
		"/* open":             `Line 1, byte 7:\nUnterminated comment ''`,
		"01":                  `Line 1, bytes 1-2:\nJunk after end of JSON value: '1'`,
		`{"a":01}`:            `Line 1, bytes 6-8:\nExpected ',' or '}' but found '1}'`,
		`[1.]`:                `Line 1, bytes 2-4:\nExpected ',' or ']' but found '.]'`,
		`[1e+]`:               `Line 1, bytes 2-5:\nExpected ',' or ']' but found 'e+]'`,
		`{"a":1,}`:            `Line 1, bytes 7-8:\nExpected string or identifier but found '}'`,
		`"\u12"`:              `Line 1, bytes 2-6:\nInvalid escape sequence 'u12\"'`,
		"x234567890123456789012345678901234567890": `Line 1, bytes 0-34:\n` +
			`Invalid token 'x23456789012345678901234567890123'`,
	} {
		if _, err := parseJSON(text); errorText(err) != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := parseJSON(strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)); err != nil {
		t.Errorf("parsing a value at the maximum depth: got error %v, want none", err)
	}
	if value, err := parseJSON("[NaN,Infinity,-Infinity]"); err != nil || len(value.([]any)) != 3 {
		t.Errorf("parsing numbers that aren't finite: got %v and error %v, want three values", value, err)
	}
	for _, text := range []string{`"\ud800"`, `"\ud800\u0041"`, `"\u12`, "[1,]", "{a:}", "-", "1.", "{,}", "tru"} {
		if value, err := parseJSON(text); err == nil {
			t.Errorf("parsing %s: got %v, want an error", text, value)
		}
	}
}
