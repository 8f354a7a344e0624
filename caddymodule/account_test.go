package caddymodule

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// TestIsUpstreamToken checks that isUpstreamToken recognizes the tokens of all accounts,
// including a replacement in a file that hasn't been loaded yet.
func TestIsUpstreamToken(t *testing.T) {
	t.Parallel()
	const first, second, third = "d9428888-122b-41e1-b85c-61fa1f9d5c2e", "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10",
		"6f1c9b1e-0d5e-4c1a-8a57-2f4f1f0e9b33"
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(first + "\n")
	app := &App{Accounts: map[string]*Account{
		"default": {UpstreamToken: third},
		"alice":   {UpstreamToken: "{file." + file + "}"},
		"other":   {UpstreamToken: "not-a-uuid"},
		"none":    {},
	}}
	for name, account := range app.Accounts {
		if err := account.provision(name, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want ...string) {
		t.Helper()
		for _, tok := range []string{first, second, third} {
			credential, err := token.Prefixes{"zz"}.Parse(tok)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, w := range want {
				found = found || w == tok
			}
			if got := app.isUpstreamToken(credential.Digest); got != found {
				t.Errorf("%s: isUpstreamToken(%.8s) = %v, want %v", when, tok, got, found)
			}
		}
		if app.isUpstreamToken(token.Digest{}) {
			t.Errorf("%s: isUpstreamToken returned true for the zero digest", when)
		}
	}
	check("at first", first, third)
	put(second)
	check("after changing the file", first, second, third)
	put("")
	check("with an empty file", first, third)
}
