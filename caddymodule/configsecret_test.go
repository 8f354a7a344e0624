package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestUpstreamTokenErrors checks that errors about an upstream token name the account and the
// kind of problem, but don't contain any part of the configured value, which may be the token.
func TestUpstreamTokenErrors(t *testing.T) {
	const secret = "15232af5-6194-407b-818d-50267002ba07"
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	}
	t.Setenv("EMPTY_"+"X", "")
	t.Setenv("BRACES", "{"+secret+"}")
	for configured, want := range map[string]string{
		"{" + secret + "}":                     "names neither",
		"a{" + secret + "}b":                   "names neither",
		"{env." + secret + "}":                 "is not set",
		"{env.EMPTY_X}":                        "is empty",
		"{env.BRACES}":                         "braces",
		"{$" + secret + "}":                    "names neither",
		"{file." + secret + "}":                "does not exist",
		"{file./" + secret + "/x}":             "does not exist",
		"{file." + dir + "}":                   "is a directory",
		"{file.}":                              "does not exist",
		"{http.request." + secret + "}":        "names neither",
		"{}":                                   "names neither",
		"{" + secret:                           "braces",
		secret + "}":                           "braces",
		`\{` + secret + `\}`:                   "braces",
		"Bearer " + secret:                     "word Bearer",
		"bearer " + secret:                     "word Bearer",
		`"` + secret + `"`:                     "quotes",
		secret + "é":                           "character",
		"a:" + secret:                          "character",
		file("empty", ""):                      "is empty",
		file("newline", "\n"):                  "is empty",
		file("newlines", "\n\r\n\n"):           "is empty",
		file("two-newlines", secret+"\n\n"):    "empty line",
		file("two-lines", secret+"\nsecond\n"): "several lines",
		file("space", secret+" \n"):            "white space",
		file("words", secret+" "+secret+"\n"):  "several words",
		file("bom", "\ufeff"+secret+"\n"):      "byte order mark",
		file("utf16", "\xff\xfe1\x005\x00"):    "byte order mark",
		file("bearer", "Bearer "+secret+"\n"):  "word Bearer",
		file("quoted", "'"+secret+"'\n"):       "quotes",
	} {
		a := &Account{UpstreamToken: configured}
		err := a.provision("alice", zap.NewNop())
		if err == nil {
			t.Errorf("%s was accepted, want an error", strings.ReplaceAll(configured, secret, "(SECRET)"))
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, "account alice: upstream_token: ") || !strings.Contains(text, want) {
			t.Errorf("%s: got %q, want an error that contains %q",
				strings.ReplaceAll(configured, secret, "(SECRET)"), text, want)
		}
		for _, part := range []string{secret[:8], secret[24:], dir, "EMPTY_X", "BRACES", "second"} {
			if strings.Contains(text, part) {
				t.Errorf("an error contains %q, which is part of the configured value", part)
			}
		}
	}

	unreadable := file("unreadable", secret)
	if err := os.Chmod(filepath.Join(dir, "unreadable"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "unreadable")); err != nil { // root can read any file
		if _, err := resolveSecret(unreadable); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("unreadable file: got error %v, want permission denied", err)
		}
	}

	t.Setenv("GOOD", secret)
	for configured, want := range map[string]string{
		secret:                         secret,
		"abc==":                        "abc==",
		"{env.GOOD}":                   secret,
		"a-{env.GOOD}":                 "a-" + secret,
		file("good", secret):           secret,
		file("line", secret+"\n"):      secret,
		file("windows", secret+"\r\n"): secret,
		"{system.os}":                  caddy.NewReplacer().ReplaceAll("{system.os}", ""),
	} {
		if got, err := resolveSecret(configured); err != nil || got != want {
			t.Errorf("a valid token was refused: %v", err)
		}
	}
}

// TestUpstreamTokenReload checks that the log doesn't contain the configured value when
// reloading the token fails.
func TestUpstreamTokenReload(t *testing.T) {
	t.Parallel()
	const secret = "15232af5-6194-407b-818d-50267002ba07"
	path := filepath.Join(t.TempDir(), secret)
	if err := os.WriteFile(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	a := &Account{UpstreamToken: "{file." + path + "}"}
	if err := a.provision("alice", zap.New(core)); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func() error{
		func() error { return os.WriteFile(path, []byte(secret+"\n\n"), 0o600) },
		func() error { return os.WriteFile(path, nil, 0o600) },
		func() error { return os.Remove(path) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		a.refused("first", time.Unix(1, 0))
	}
	failed := 0
	for _, line := range logs.All() {
		text, _ := line.ContextMap()["error"].(string)
		if strings.Contains(line.Message+text, secret[:8]) {
			t.Errorf("a log entry contains the configured value")
		}
		if strings.Contains(line.Message, "reloading an account's upstream token") {
			failed++
		}
	}
	if failed != 3 || a.credential().token != "first" {
		t.Errorf("got %d failures in the log, want 3", failed)
	}
}
