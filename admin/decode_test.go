package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const goodBody = `{"name":"a","preset":"read","expires_in":"90d"}`

// TestDecodeRefusesAmbiguousJSON verifies that JSON that different parsers interpret
// differently is refused.
func TestDecodeRefusesAmbiguousJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	with := func(members string) string { return strings.TrimSuffix(goodBody, "}") + "," + members + "}" }
	for name, body := range map[string]string{
		"a duplicate member":                    with(`"name":"b"`),
		"a duplicate by an escape":              with(`"n\u0061me":"b"`),
		"a duplicate by letter case":            with(`"NAME":"b"`),
		"a duplicate by a long s":               with(`"preſet":"full"`),
		"a duplicate by the Kelvin sign":        with(`"Kind":"api","\u212aind":"admin"`),
		"a nested duplicate":                    with(`"metadata":{"a":"1","a":"2"}`),
		"a nested duplicate by letter case":     with(`"metadata":{"a":"1","A":"2"}`),
		"a nested duplicate by folding":         with(`"metadata":{"s":"1","ſ":"2"}`),
		"a duplicate deep in an unknown member": with(`"x":[{"y":{"z":1,"Z":2}}]`),
		"a second value":                        goodBody + goodBody,
		"a second value after a space":          goodBody + " 1",
		"data after the object":                 goodBody + " garbage",
		"an extra closing brace":                goodBody + "}",
		"data after another fault":              with(`"x":1`) + " garbage",
		"a trailing NUL":                        goodBody + "\x00",
		"null":                                  "null",
		"an array":                              "[" + goodBody + "]",
		"a string":                              `"name"`,
		"a number":                              "1",
		"an empty body":                         "",
		"white space":                           " \n\t",
		"a byte order mark":                     "\ufeff" + goodBody,
		"UTF-16":                                "{\x00}\x00",
		"invalid UTF-8 in a value":              with("\"account\":\"a\xff\""),
		"invalid UTF-8 in a name":               with("\"a\xc0\xaf\":1"),
		"a lone high surrogate":                 with(`"account":"\ud800"`),
		"a lone low surrogate":                  with(`"account":"\udc00x"`),
		"swapped surrogates":                    with(`"account":"\udc00\ud800"`),
		"a lone surrogate in a name":            with(`"\ud800":1`),
		"a raw control character":               with("\"account\":\"a\nb\""),
		"an unknown escape":                     with(`"account":"\x41"`),
		"a comment":                             "/* x */" + goodBody,
		"a trailing comma":                      `{"name":"a",}`,
		"single quotes":                         `{'name':'a'}`,
		"an unquoted name":                      `{name:"a"}`,
		"a number as a name":                    `{1:"a"}`,
		"NaN":                                   with(`"x":NaN`),
		"a leading zero":                        with(`"x":010`),
		"a plus sign":                           with(`"x":+1`),
		"truncated":                             goodBody[:len(goodBody)-1],
		"truncated in a string":                 `{"name":"a`,
		"nested too deep":                       with(`"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32)),
		"nested far too deep": with(`"x":` + strings.Repeat(`{"a":`, 60_000) + "1" + strings.Repeat("}",
			60_000)),
		"nested far too deep and never closed": strings.Repeat("{\"a\":", 200_000),
		"many names and a duplicate":           with(manyNames(60_000) + `,"NAME":1`),
	} {
		r := httptest.NewRequest(http.MethodPost, "/tokens", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := f.serve(r)
		t.Log(name)
		f.refused(w, 400, "invalid_json")
		if len(w.Body.String()) > 2000 {
			t.Errorf("%s: the response is %d bytes long", name, w.Body.Len())
		}
	}
	// For likely mistakes, the refusal's detail describes the problem.
	for body, tell := range map[string]string{
		"\ufeff" + goodBody:   "byte order mark",
		goodBody + goodBody:   "after the JSON object",
		goodBody[:10]:         "is incomplete",
		"{\"a\":\"\xff\"}":    "UTF-8",
		`{"name":"a"`:         "is incomplete",
		`["a"]`:               "must be a JSON object",
		`{"name":"a",}`:       "at byte",
		`{"a":1,"b":2,"A":3}`: `"A" appears twice`,
	} {
		got := f.refused(f.do(http.MethodPost, "/tokens", body), 400, "invalid_json")
		if detail, _ := got["detail"].(string); !strings.Contains(detail, tell) {
			t.Errorf("%q: got detail %q, want it to contain %q", body, detail, tell)
		}
	}
	// A body exactly at the nesting limit isn't refused for its depth, only for its
	// content.
	w := f.do(http.MethodPost, "/tokens", with(`"x":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)))
	f.refused(w, 400, "invalid_field", "field=x")
	if w.Header().Get("Connection") != "" {
		t.Error("the connection was closed although the body was read")
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + string(rune('a'+i%26)) + strings.Repeat("x", 2) + string(rune(0x4e00+i/26)) + `":1`)
	}
	return b.String()
}

func TestDecodeRefusesMediaTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, header := range []string{
		"Content-Type: ",
		"Content-Type: text/plain",
		"Content-Type: text/json",
		"Content-Type: application/x-www-form-urlencoded",
		"Content-Type: multipart/form-data; boundary=x",
		"Content-Type: application/json; charset=utf-16",
		"Content-Type: application/jsonp",
		"Content-Type: application/problem+json",
		"Content-Type: application/json, text/plain",
		"Content-Type: application/json;;",
		"Content-Encoding: gzip",
		"Content-Encoding: identity",
	} {
		r := httptest.NewRequest(http.MethodPost, "/tokens", strings.NewReader(goodBody))
		r.Header.Set("Content-Type", "application/json")
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
		if name == "Content-Encoding" {
			r.Header.Set("Content-Type", "application/json")
		}
		t.Log(header)
		w := f.serve(r)
		f.refused(w, 415, "unsupported_media_type")
		if w.Header().Get("Connection") != "close" {
			t.Error("the connection stayed open with an unread body")
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/tokens", strings.NewReader(goodBody))
	r.Header["Content-Type"] = []string{"application/json", "application/json"}
	f.refused(f.serve(r), 415, "unsupported_media_type")

	for _, contentType := range []string{"application/json; charset=utf-8", "Application/JSON; charset=UTF-8",
		`application/json;charset="utf-8"`} {
		r := httptest.NewRequest(http.MethodPost, "/tokens", strings.NewReader(goodBody))
		r.Header.Set("Content-Type", contentType)
		if w := f.serve(r); w.Code != http.StatusCreated {
			t.Errorf("%s: got status %d and body %s", contentType, w.Code, w.Body)
		}
	}
}

// endless is a body that never ends. It counts the bytes read.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func TestDecodeRefusesLargeBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	full := goodBody + strings.Repeat(" ", maxBody-len(goodBody))
	if w := f.do(http.MethodPost, "/tokens", full); w.Code != http.StatusCreated {
		t.Errorf("a body of the maximum size: got status %d and body %s", w.Code, w.Body)
	}
	f.refused(f.do(http.MethodPost, "/tokens", full+" "), 413, "body_too_large")

	declared := httptest.NewRequest(http.MethodPost, "/tokens", new(failing))
	declared.ContentLength = 100 << 20
	declared.Header.Set("Content-Type", "application/json")
	f.refused(f.serve(declared), 413, "body_too_large")

	body := new(endless)
	chunked := httptest.NewRequest(http.MethodPost, "/tokens", body)
	chunked.ContentLength = -1
	chunked.Header.Set("Content-Type", "application/json")
	w := f.serve(chunked)
	f.refused(w, 413, "body_too_large")
	if body.read > 3*maxBody {
		t.Errorf("%d bytes were read, more than the limit", body.read)
	}
	if w.Header().Get("Connection") != "close" {
		t.Error("the connection stayed open with an unread body")
	}
}

// failing is a body whose reads fail.
type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDecodeRefusesIncompleteBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := httptest.NewRequest(http.MethodPost, "/tokens", new(failing))
	r.Header.Set("Content-Type", "application/json")
	f.refused(f.serve(r), 400, "invalid_json")
}
