package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mollygate/mollygate/token"
)

var testRedactor = redactor{token.Prefixes{"mm", "xy"}}

func TestRedact(t *testing.T) {
	t.Parallel()
	const token, head, redacted = unknownToken, "mmk_4fQ9Zt2LkVb7_", token.Redacted
	var escaped string
	for _, c := range []byte(token) {
		escaped += fmt.Sprintf("%%%02x", c)
	}
	for text, want := range map[string]string{
		"":                                 "",
		"mmk_":                             "mmk_",
		"nothing_here_at_all":              "nothing_here_at_all",
		token:                              head + redacted,
		"a " + token + " b":                "a " + head + redacted + " b",
		"x" + token + "y z":                "x" + head + redacted + " z",
		token + token:                      head + redacted + "_4fQ9Zt2LkVb7_" + redacted,
		token + "," + token:                head + redacted + "," + head + redacted,
		token[:40]:                         head + redacted,
		head + "N":                         head + redacted,
		head:                               head,
		head + "-N":                        head + "-N",
		token[:54] + "!":                   head + redacted + "!",
		"xya" + token[3:]:                  "xya" + head[3:] + redacted,
		"zzk" + token[3:]:                  "zzk" + token[3:], // another program's prefix
		"Mmk" + strings.ToLower(token[3:]): "Mmk" + strings.ToLower(head[3:]) + redacted,
		strings.ToUpper(token):             strings.ToUpper(head) + redacted,
		"_" + token:                        "_" + head + redacted,
		"mmk_4fQ9Zt2LkV_" + token:          "mmk_4fQ9Zt2LkV_" + head + redacted,
		"/?t=" + escaped:                   "/?t=" + head + redacted,
		"/?t=" + strings.ReplaceAll(token, "_", "%5F"):       "/?t=" + head + redacted,
		"/?t=" + strings.ReplaceAll(token, "_", "%2525255f"): "/?t=" + head + redacted,
		token + escaped: head + redacted + head + redacted,
		"/%2561?a=%zz":  "/%2561?a=%zz", // unchanged
	} {
		if got := testRedactor.text(text); got != want {
			t.Errorf("redacting %q: got %q, want %q", text, got, want)
		}
	}
}

// TestRedactIsLinear checks that redaction takes linear time even for hostile input.
func TestRedactIsLinear(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"%25", "%2525", "_", "mmk_", "mmk_4fQ9Zt2LkVb7_", unknownToken, "%6d", "a"} {
		text := strings.Repeat(unit, 1<<20/len(unit))
		start := time.Now()
		testRedactor.text(text)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("redacting 1 MiB of %q took %v", unit, took)
		}
	}
}

type namedToken struct{ Name, Token string }

func (n *namedToken) String() string { return n.Token }

func (n *namedToken) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("string", n.Token)
	enc.AddByteString("bytes", []byte(n.Token))
	enc.AddString(n.Token, "key")
	enc.AddInt("number", 1)
	return errors.Join(enc.AddReflected("reflected", []string{n.Token}),
		enc.AddArray("array", caddyhttp.LoggableStringArray{n.Token}),
		enc.AddObject("object", zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
			enc.AddString("inner", n.Token)
			return nil
		})))
}

func (n *namedToken) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	enc.AppendString(n.Token)
	enc.AppendByteString([]byte(n.Token))
	return errors.Join(enc.AppendReflected(map[string]string{n.Token: "x"}), enc.AppendObject(n),
		enc.AppendArray(caddyhttp.LoggableStringArray{n.Token}))
}

// TestRedactingLogger checks that tokens are removed from every kind of field, no matter how
// the field is added, and that everything else is logged unchanged.
func TestRedactingLogger(t *testing.T) {
	t.Parallel()
	value := &namedToken{"x", unknownToken}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Method, r.Host, r.RequestURI = unknownToken, unknownToken, "/"+unknownToken
	r.Header.Set("X-Api-Key", unknownToken)
	fields := map[string]zap.Field{
		"string":    zap.String("f", unknownToken),
		"key":       zap.String(unknownToken, "x"),
		"bytes":     zap.ByteString("f", []byte(unknownToken)),
		"strings":   zap.Strings("f", []string{unknownToken}),
		"error":     zap.Error(fmt.Errorf("reading %s: %w", unknownToken, errors.New(unknownToken))),
		"errors":    zap.Errors("f", []error{errors.New(unknownToken)}),
		"stringer":  zap.Stringer("f", value),
		"stringers": zap.Stringers("f", []*namedToken{value}),
		"object":    zap.Object("f", value),
		"inline":    zap.Inline(value),
		"array":     zap.Array("f", value),
		"reflect":   zap.Reflect("f", map[string]any{"x": *value}),
		"any":       zap.Any("f", *value),
		"request":   zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r, ShouldLogCredentials: true}),
		"namespace": zap.Namespace(unknownToken),
	}
	for name, field := range fields {
		for how, write := range map[string]func(*zap.Logger){
			"direct":  func(l *zap.Logger) { l.Error("message", field) },
			"before":  func(l *zap.Logger) { l.With(field).Error("message") },
			"lazily":  func(l *zap.Logger) { l.WithLazy(field).Named("name").Error("message") },
			"checked": func(l *zap.Logger) { l.Check(zapcore.ErrorLevel, "message").Write(field) },
			"message": func(l *zap.Logger) { l.Error(unknownToken, zap.String("f", "x")) },
		} {
			var out bytes.Buffer
			core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out),
				zapcore.InfoLevel)
			write(testRedactor.logger(zap.New(zapcore.NewTee(core, zapcore.NewNopCore()))))
			if text := out.String(); strings.Contains(text, unknownToken[17:]) || !strings.Contains(text, "REDACTED") ||
				!json.Valid(out.Bytes()) {
				t.Errorf("%s, %s: unexpected log output: %s", name, how, text)
			}
		}
	}

	var plain, redacted bytes.Buffer
	clean := []zap.Field{
		zap.Int("n", 1), zap.Duration("d", time.Second), zap.Error(errors.New("x")), zap.Error(nil),
		zap.NamedError("nil", (*FieldlessError)(nil)),
		zap.Stringer("s", netip.MustParseAddr("192.0.2.1")), zap.Stringer("nil stringer", (*namedToken)(nil)),
		zap.Reflect("r", map[string]int{"a": 1}),
		zap.Strings("strings", []string{"a", "%20"}), zap.Binary("b", []byte{1}), zap.Bool("t", true),
		zap.Time("at", time.Unix(0, 0)), zap.Namespace("in"), zap.String("u", "/%2561?a=b"),
	}
	for out, wrap := range map[*bytes.Buffer]func(*zap.Logger) *zap.Logger{
		&plain: func(l *zap.Logger) *zap.Logger { return l }, &redacted: testRedactor.logger} {
		config := zap.NewProductionEncoderConfig()
		config.TimeKey = ""
		logger := wrap(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(out), zapcore.InfoLevel),
			zap.WithCaller(false)))
		logger.Debug("not written", clean...)
		logger.Named("a").With(zap.Int("with", 2)).Error("message", clean...)
	}
	if plain.String() != redacted.String() {
		t.Errorf("fields without tokens were logged as\n%s, want\n%s", redacted.String(), plain.String())
	}
}

// TestRedactLazily checks that describing a request for the proxy's log does no work unless an entry
// is written, and that the entry has no token.
func TestRedactLazily(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out),
		zapcore.InfoLevel)
	described := 0
	request := zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		described++
		enc.AddString("uri", unknownToken)
		return nil
	})
	logger := testRedactor.logger(zap.New(core).Named(proxyLogger)).With(zap.Object("request", request))
	if logger.Debug("not written"); described != 0 {
		t.Error("the request was described, although no entry was written")
	}
	logger.Warn("first")
	logger.With(zap.String("again", unknownToken)).Warn("second")
	if text := out.String(); described != 1 || strings.Count(text, token.Redacted) != 3 ||
		strings.Contains(text, unknownToken[17:]) {
		t.Errorf("the request was described %d times; log: %s", described, text)
	}
}

// FieldlessError is an error type whose Error method panics when called on a nil pointer.
type FieldlessError struct{}

func (e *FieldlessError) Error() string { return (*e).text() }
func (FieldlessError) text() string     { return "x" }
