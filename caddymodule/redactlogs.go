package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// redactHTTPLogs makes the loggers of Caddy's HTTP servers remove tokens from everything they
// write, including the access and error logs. Handlers call it when they are provisioned.
//
// Both logs print a copy of the request that Caddy makes before any handler runs, so handlers
// can't remove tokens from it. Caddy even drops some headers, such as X_Api_Key, between
// making the copy and running the first handler. A separate server, whose access log contains
// the URL, handles redirects to HTTPS. Nor can handlers write access log entries of their own
// that are just as complete. The loggers are in unexported fields that nothing uses before the
// servers start.
func redactHTTPLogs(ctx caddy.Context, r redactor) error {
	var web *caddyhttp.App
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			web = app
		}
	}
	if web == nil {
		return nil // no server runs the handler
	}
	// Servers that are provisioned later derive their loggers from the app's logger.
	found := r.redactLoggers(reflect.ValueOf(web))
	for _, server := range web.Servers {
		found = append(found, r.redactLoggers(reflect.ValueOf(server))...)
	}
	r.redactEarlierLoggers(ctx)
	for _, name := range []string{"http", "http.log.error"} {
		if !slices.Contains(found, name) {
			return fmt.Errorf(
				"can't redact tokens in Caddy's logs: this version of Caddy has no logger %s where expected; "+
					"build with the version of Caddy in Mollygate's go.mod", name)
		}
	}
	return nil
}

// redactEarlierLoggers makes all modules provisioned so far remove tokens from their logs.
// These include the handlers and matchers that run before this handler. With debug enabled,
// for example, rewrite and forward_auth log the URL and headers.
func (r redactor) redactEarlierLoggers(ctx caddy.Context) {
	instances := reflect.ValueOf(ctx).FieldByName("moduleInstances")
	if instances.Kind() != reflect.Map {
		return // a different version of Caddy; docs/security.md covers its debug log
	}
	for id, modules := range instances.Seq2() {
		if !strings.HasPrefix(id.String(), "http.") {
			continue
		}
		for i := range modules.Len() {
			if module := modules.Index(i).Elem(); module.Kind() == reflect.Pointer &&
				module.Elem().Kind() == reflect.Struct {
				r.redactLoggers(module)
			}
		}
	}
}

// redactLoggers makes the loggers in a struct's fields remove tokens and returns the names of
// those loggers.
func (r redactor) redactLoggers(pointer reflect.Value) (names []string) {
	for _, field := range pointer.Elem().Fields() {
		if field.Type() != reflect.TypeFor[*zap.Logger]() || field.IsNil() {
			continue
		}
		logger := (*zap.Logger)(field.UnsafePointer())
		names = append(names, logger.Name())
		if _, done := logger.Core().(*redactingCore); !done {
			*logger = *r.logger(logger)
		}
	}
	return names
}

// proxyLogger is the name of the logger of Caddy's proxy.
const proxyLogger = "http.handlers.reverse_proxy"

// logger returns a copy of the given logger that removes tokens.
func (r redactor) logger(logger *zap.Logger) *zap.Logger {
	lazy := logger.Name() == proxyLogger
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &redactingCore{core, r, lazy}
	}))
}

// redactingCore removes tokens from entries before passing them to the wrapped core.
type redactingCore struct {
	zapcore.Core
	redactor redactor
	// lazy defers the work of With until an entry is written. It is set only for Caddy's proxy,
	// which describes every request with With but seldom writes an entry. The proxy doesn't change
	// what it has described, and writes all entries on the request's goroutine; other handlers may
	// not.
	lazy bool
}

// With implements zapcore.Core.
func (c *redactingCore) With(fields []zap.Field) zapcore.Core {
	if c.lazy {
		return zapcore.NewLazyWith(&redactingCore{c.Core, c.redactor, false}, fields)
	}
	return &redactingCore{c.Core.With(c.redactor.fields(fields)), c.redactor, false}
}

// Check implements zapcore.Core. The wrapped core selects which of its own cores write the
// entry, and a redactedEntry passes the entry to them.
func (c *redactingCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if inner := c.Core.Check(entry, nil); inner != nil {
		return checked.AddCore(entry, &redactedEntry{c.Core, inner, c.redactor})
	}
	return checked
}

// redactedEntry is a log entry that the wrapped cores have accepted for writing.
type redactedEntry struct {
	zapcore.Core
	inner    *zapcore.CheckedEntry
	redactor redactor
}

// stderr is where zap reports failures to write entries.
var stderr = zapcore.Lock(os.Stderr)

// Write implements zapcore.Core.
func (e *redactedEntry) Write(entry zapcore.Entry, fields []zap.Field) error {
	entry.Message = e.redactor.text(entry.Message)
	e.inner.Entry, e.inner.ErrorOutput = entry, stderr
	e.inner.Write(e.redactor.fields(fields)...)
	return nil
}

// fields returns a copy of the fields without tokens.
func (r redactor) fields(fields []zap.Field) []zap.Field {
	clean := make([]zap.Field, len(fields))
	for i, field := range fields {
		clean[i] = r.field(field)
	}
	return clean
}

func (r redactor) field(f zap.Field) zap.Field {
	f.Key = r.text(f.Key)
	switch f.Type {
	case zapcore.StringType:
		f.String = r.text(f.String)
	case zapcore.ByteStringType:
		f.Interface = []byte(r.text(string(f.Interface.([]byte))))
	case zapcore.ErrorType:
		err, ok := f.Interface.(error)
		if !ok {
			return f
		}
		if text := errorText(err); r.text(text) != text {
			f.Interface = errors.New(r.text(text))
		}
	case zapcore.StringerType:
		if stringer, ok := f.Interface.(fmt.Stringer); ok {
			f.Interface = redactedStringer{stringer, r}
		}
	case zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		f.Interface = redactedObject{f.Interface.(zapcore.ObjectMarshaler), r}
	case zapcore.ArrayMarshalerType:
		f.Interface = r.array(f.Interface.(zapcore.ArrayMarshaler))
	case zapcore.ReflectType:
		f.Interface = r.reflected(f.Interface)
	}
	return f
}

// errorText returns the error's text, or "" if the error is a nil pointer. Zap handles nil
// pointers itself.
func errorText(err error) string {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	return err.Error()
}

// reflected returns value without tokens. Zap writes these values as JSON.
func (r redactor) reflected(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return value // zap can't encode it either
	}
	if clean := r.text(string(text)); clean != string(text) {
		return clean
	}
	return value
}

// redactedStringer wraps a fmt.Stringer and removes tokens from its text.
type redactedStringer struct {
	fmt.Stringer
	redactor redactor
}

func (s redactedStringer) String() string {
	if v := reflect.ValueOf(s.Stringer); v.Kind() == reflect.Pointer && v.IsNil() {
		return "<nil>" // as in zap
	}
	return s.redactor.text(s.Stringer.String())
}

// redactedObject wraps an object, such as a request or its headers, and logs it without
// tokens.
type redactedObject struct {
	zapcore.ObjectMarshaler
	redactor redactor
}

func (o redactedObject) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	return o.ObjectMarshaler.MarshalLogObject(redactingObject{enc, o.redactor})
}

// array returns a wrapped array that is logged without tokens. Header values keep their type,
// because the filters in Caddy's log formats depend on it.
func (r redactor) array(array zapcore.ArrayMarshaler) zapcore.ArrayMarshaler {
	values, ok := array.(caddyhttp.LoggableStringArray)
	if !ok {
		return redactedArray{array, r}
	}
	clean := make(caddyhttp.LoggableStringArray, len(values))
	for i, value := range values {
		clean[i] = r.text(value)
	}
	return clean
}

// redactedArray wraps an array and logs it without tokens.
type redactedArray struct {
	zapcore.ArrayMarshaler
	redactor redactor
}

func (a redactedArray) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return a.ArrayMarshaler.MarshalLogArray(redactingArray{enc, a.redactor})
}

// redactingObject removes tokens from an object's members. Keys can contain tokens too,
// because header names are keys.
type redactingObject struct {
	zapcore.ObjectEncoder
	redactor redactor
}

func (e redactingObject) AddString(key, value string) {
	e.ObjectEncoder.AddString(e.redactor.text(key), e.redactor.text(value))
}

func (e redactingObject) AddByteString(key string, value []byte) {
	e.AddString(key, string(value))
}

func (e redactingObject) AddReflected(key string, value any) error {
	return e.ObjectEncoder.AddReflected(e.redactor.text(key), e.redactor.reflected(value))
}

func (e redactingObject) AddObject(key string, value zapcore.ObjectMarshaler) error {
	return e.ObjectEncoder.AddObject(e.redactor.text(key), redactedObject{value, e.redactor})
}

func (e redactingObject) AddArray(key string, value zapcore.ArrayMarshaler) error {
	return e.ObjectEncoder.AddArray(e.redactor.text(key), e.redactor.array(value))
}

// redactingArray removes tokens from an array's elements.
type redactingArray struct {
	zapcore.ArrayEncoder
	redactor redactor
}

func (e redactingArray) AppendString(value string) {
	e.ArrayEncoder.AppendString(e.redactor.text(value))
}

func (e redactingArray) AppendByteString(value []byte) { e.AppendString(string(value)) }

func (e redactingArray) AppendReflected(value any) error {
	return e.ArrayEncoder.AppendReflected(e.redactor.reflected(value))
}

func (e redactingArray) AppendObject(value zapcore.ObjectMarshaler) error {
	return e.ArrayEncoder.AppendObject(redactedObject{value, e.redactor})
}

func (e redactingArray) AppendArray(value zapcore.ArrayMarshaler) error {
	return e.ArrayEncoder.AppendArray(e.redactor.array(value))
}

// Interface guards.
var (
	_ zapcore.Core          = (*redactingCore)(nil)
	_ zapcore.Core          = (*redactedEntry)(nil)
	_ zapcore.ObjectEncoder = redactingObject{}
	_ zapcore.ArrayEncoder  = redactingArray{}
)
