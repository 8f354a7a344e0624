package gate

import (
	"strings"
	"testing"
)

// TestPlainText checks that the backend text in a refusal is a single printable line of
// limited length.
func TestPlainText(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		" \t\r\n ":                 "",
		"a":                        "a",
		"  a\r\n\t b  ":            "a b",
		"a\x00b\x1b[31mc\x7fd":     "ab[31mcd",
		"a\u202eb\u200bc\ufeffd":   "abcd",
		"für\u00a0\"x\" <b>":       "für \"x\" <b>",
		"a\xffb":                   "a\ufffdb",
		strings.Repeat("ü", 500):   strings.Repeat("ü", 500),
		strings.Repeat("ü", 501):   strings.Repeat("ü", 500) + "…",
		strings.Repeat("a ", 5000): strings.Repeat("a ", 249) + "a a…",
	} {
		if got := plainText(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestBackendCode(t *testing.T) {
	refusal := backendTextRefusal(ErrorText{Text: "destroy: not found", Code: "not_found", Status: 404})
	p := refusal.Problem()
	if p.Status != 404 || p.Detail != "destroy: not found" || len(p.Members) != 1 ||
		p.Members[0].Name != "backend_code" || p.Members[0].Value != "not_found" {
		t.Errorf("got problem %+v", p)
	}
	if p := backendTextRefusal(ErrorText{Text: "x", Status: 500}).Problem(); len(p.Members) != 0 {
		t.Errorf("got problem %+v", p)
	}
}
