package mollymawk

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
)

const (
	inBody  = `{"name":"hello","albatross_instance":"default"}`
	inQuery = "instance=default&unikernel=hello"
)

func TestRestartByQuery(t *testing.T) {
	for name, tt := range map[string]struct{ query, body, wantQuery, wantBody string }{
		"handbook":      {"", inBody, inQuery, `{}`},
		"other order":   {"", `{"albatross_instance":"default","name":"hello"}`, inQuery, `{}`},
		"white space":   {"", " {\n \"name\" : \"hello\" ,\t\"albatross_instance\":\"default\" } \n", inQuery, `{}`},
		"escaped names": {"", `{"n\u0061me":"hello","albatross_instance":"def\u0061ult"}`, inQuery, `{}`},
		"arguments": {
			"",
			`{"name":"hello","arguments":"{\"typ\": \"solo5\",\u0020\"memory\":32}","albatross_instance":"default"}`,
			inQuery, `{"arguments":"{\"typ\": \"solo5\",\u0020\"memory\":32}"}`,
		},
		"other members": {
			"", `{"a":[1, 2.50,{"b":null}],"name":"hello","c":1e400,"albatross_instance":"default","d":{}}`,
			inQuery, `{"a":[1, 2.50,{"b":null}],"c":1e400,"d":{}}`,
		},
		"other parameters": {"x=1&y", inBody, "x=1&y&" + inQuery, `{}`},
		"escaping": {"", `{"name":"a&b=c d,é\/%","albatross_instance":"+#"}`,
			"instance=%2B%23&unikernel=a%26b%3Dc+d%2C%C3%A9%2F%25", `{}`},
		"empty names": {"", `{"name":"","albatross_instance":""}`, "instance=&unikernel=", `{}`},

		"query already":        {inQuery, `{}`, inQuery, `{}`},
		"query, escaped names": {"%69nstance=a&unikernel=b", inBody, "%69nstance=a&unikernel=b", inBody},
		"both":                 {inQuery, inBody, inQuery, inBody},
		"half a query":         {"instance=default", inBody, "instance=default", inBody},
		"empty parameter":      {"unikernel", inBody, "unikernel", inBody},
		"half a body":          {"", `{"name":"hello"}`, "", `{"name":"hello"}`},
		"empty object":         {"", `{}`, "", `{}`},
		"not a string": {"", `{"name":1,"albatross_instance":"default"}`, "",
			`{"name":1,"albatross_instance":"default"}`},
		"null": {"", `{"name":null,"albatross_instance":"default"}`, "",
			`{"name":null,"albatross_instance":"default"}`},
		"other case": {"", `{"Name":"hello","albatross_instance":"default"}`, "",
			`{"Name":"hello","albatross_instance":"default"}`},
		"duplicate name": {"", `{"name":"a","name":"b","albatross_instance":"c"}`, "",
			`{"name":"a","name":"b","albatross_instance":"c"}`},
		"duplicate, escaped": {"", `{"name":"a","n\u0061me":"b","albatross_instance":"c"}`, "",
			`{"name":"a","n\u0061me":"b","albatross_instance":"c"}`},
		"nested duplicate": {"", `{"x":{"y":1,"y":2},"name":"a","albatross_instance":"c"}`, "",
			`{"x":{"y":1,"y":2},"name":"a","albatross_instance":"c"}`},
		"comment": {"", `{/* x */"name":"a","albatross_instance":"c"}`, "",
			`{/* x */"name":"a","albatross_instance":"c"}`},
		"NaN": {"", `{"x":NaN,"name":"a","albatross_instance":"c"}`, "",
			`{"x":NaN,"name":"a","albatross_instance":"c"}`},
		"trailing text": {"", inBody + `{}`, "", inBody + `{}`},
		"truncated":     {"", inBody[:len(inBody)-1], "", inBody[:len(inBody)-1]},
		"invalid UTF-8": {"", "{\"name\":\"\xff\",\"albatross_instance\":\"c\"}", "",
			"{\"name\":\"\xff\",\"albatross_instance\":\"c\"}"},
		"half a surrogate": {"", `{"name":"\ud800","albatross_instance":"c"}`, "",
			`{"name":"\ud800","albatross_instance":"c"}`},
		"byte order mark": {"", "\ufeff" + inBody, "", "\ufeff" + inBody},
		"array":           {"", `[` + inBody + `]`, "", `[` + inBody + `]`},
		"string":          {"", `"x"`, "", `"x"`},
		"form": {"", "name=hello&albatross_instance=default", "",
			"name=hello&albatross_instance=default"},
		"empty":                     {"", "", "", ""},
		"broken query unchanged":    {"%zz", inBody, "%zz&" + inQuery, `{}`},
		"semicolon is no separator": {"x;instance=1", inBody, "x;instance=1&" + inQuery, `{}`},
	} {
		checkAdapt(t, name, restartByQuery, tt.query, tt.body, tt.wantQuery, tt.wantBody)
	}
}

func TestRestartByBody(t *testing.T) {
	for name, tt := range map[string]struct{ query, body, wantQuery, wantBody string }{
		"query":           {inQuery, `{}`, "", inBody},
		"other order":     {"unikernel=hello&instance=default", `{}`, "", inBody},
		"escaped":         {"%69nstance=default&unikernel=h%65llo", `{}`, "", inBody},
		"plus is a space": {"instance=a+b&unikernel=c%2Bd", `{}`, "", `{"name":"c+d","albatross_instance":"a b"}`},
		"quotes":          {"instance=%22&unikernel=%5C%0A", `{}`, "", `{"name":"\\\n","albatross_instance":"\""}`},
		"comma list":      {"instance=a,b&unikernel=c", `{}`, "", `{"name":"c","albatross_instance":"a,b"}`},
		"first one counts": {"instance=a&unikernel=b&instance=c&unikernel=d", `{}`, "",
			`{"name":"b","albatross_instance":"a"}`},
		"other parameters": {"x=1&instance=a&y&unikernel=b&z=%zz", `{}`, "x=1&y&z=%zz",
			`{"name":"b","albatross_instance":"a"}`},
		"arguments": {inQuery, `{"arguments" : "{ }" , "x":[1, 2]}`, "",
			`{"name":"hello","albatross_instance":"default","arguments":"{ }","x":[1, 2]}`},
		"empty parameters": {"instance=&unikernel", `{}`, "", `{"name":"","albatross_instance":""}`},

		"handbook":            {"", inBody, "", inBody},
		"handbook, unchanged": {"x=1", " " + inBody, "x=1", " " + inBody},
		"both":                {inQuery, inBody, inQuery, inBody},
		"half a query":        {"instance=default", `{}`, "instance=default", `{}`},
		"half and half":       {inQuery, `{"name":"x"}`, inQuery, `{"name":"x"}`},
		"half and null":       {inQuery, `{"albatross_instance":null}`, inQuery, `{"albatross_instance":null}`},
		"broken escape":       {"instance=%zz&unikernel=b", `{}`, "instance=%zz&unikernel=b", `{}`},
		"invalid UTF-8":       {"instance=%ff&unikernel=b", `{}`, "instance=%ff&unikernel=b", `{}`},
		"empty body":          {inQuery, "", inQuery, ""},
		"duplicate":           {inQuery, `{"x":1,"x":2}`, inQuery, `{"x":1,"x":2}`},
		"comment":             {inQuery, `{}//`, inQuery, `{}//`},
		"array":               {inQuery, `[]`, inQuery, `[]`},
	} {
		checkAdapt(t, name, restartByBody, tt.query, tt.body, tt.wantQuery, tt.wantBody)
	}
}

func checkAdapt(t *testing.T, name string, adapt func(string, []byte) (string, []byte), query, body, wantQuery,
	wantBody string) {
	t.Helper()
	given := []byte(body)
	gotQuery, gotBody := adapt(query, given)
	if gotQuery != wantQuery || string(gotBody) != wantBody {
		t.Errorf("%s: got query %q, body %s\nwant query %q, body %s", name, gotQuery, gotBody, wantQuery, wantBody)
	}
	if string(given) != body {
		t.Errorf("%s: adapt changed its argument to %s", name, given)
	}
}

// TestRestartOfGeneration checks that both kinds of restart requests are converted to the
// format of the backend's generation.
func TestRestartOfGeneration(t *testing.T) {
	call := gate.Call{Body: []byte(inBody)}
	if err := current.restart(&call); err != nil || call.Query != inQuery || string(call.Body) != "{}" {
		t.Errorf("current: got query %q, body %s and error %v, want the names in the query", call.Query, call.Body, err)
	}
	if err := generation2025.restart(&call); err != nil || call.Query != "" || string(call.Body) != inBody {
		t.Errorf("2025: got query %q, body %s and error %v, want the names in the body", call.Query, call.Body, err)
	}
}

func FuzzAdapt(f *testing.F) {
	for _, query := range []string{"", inQuery, "instance=a", "x=1&unikernel=b&instance=c",
		"instance=%zz&unikernel=%ff", "&&=&", "instance=a+b&unikernel=c;d"} {
		for _, body := range []string{"", "{}", inBody, `{"name":"a","name":"b"}`,
			`{"arguments":"{}","name":"a","albatross_instance":"\u00e9"}`, `{/**/}`, `{"x":{"y":[1,2]}}`, "[]",
			`{"name":1}`, inBody + "x"} {
			f.Add(query, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		for name, adapt := range map[string]func(string, []byte) (string, []byte){"by query": restartByQuery,
			"by body": restartByBody} {
			given := bytes.Clone(body)
			newQuery, newBody := adapt(query, body)
			if !bytes.Equal(body, given) {
				t.Fatalf("%s: adapt changed its argument", name)
			}
			before, isObject := decodeObject(body)
			after, stillObject := decodeObject(newBody)
			if isObject != stillObject {
				t.Fatalf("%s: converting %q got %q; only one of them is an object", name, body, newBody)
			}
			if againQuery, againBody := adapt(newQuery, newBody); againQuery != newQuery ||
				!bytes.Equal(againBody, newBody) {
				t.Fatalf("%s: converting once got %q %q, converting twice got %q %q",
					name, newQuery, newBody, againQuery, againBody)
			}
			if newQuery == query && bytes.Equal(newBody, body) {
				continue
			}
			if !isObject || newQuery == query {
				t.Fatalf("%s: converting %q %q got %q %q, want both or neither changed",
					name, query, body, newQuery, newBody)
			}
			// The query and the body together have the same content as before.
			if was, is := content(before, query), content(after, newQuery); !maps.Equal(was, is) {
				t.Fatalf("%s: got content %[3]q, want %[2]q", name, was, is)
			}
		}
	})
}

// decodeObject parses a JSON object with a different parser.
func decodeObject(body []byte) (map[string]json.RawMessage, bool) {
	var object map[string]json.RawMessage
	err := json.Unmarshal(body, &object)
	return object, err == nil && object != nil
}

// content returns a restart request's instance, unikernel and other members.
func content(object map[string]json.RawMessage, query string) map[string]string {
	all := make(map[string]string)
	for name, raw := range object {
		all[name] = string(raw)
	}
	for inQuery, inBody := range map[string]string{"instance": "albatross_instance", "unikernel": "name"} {
		for pair := range strings.SplitSeq(query, "&") {
			key, value, _ := strings.Cut(pair, "=")
			key, _ = url.QueryUnescape(key)
			value, _ = url.QueryUnescape(value)
			if key == inQuery {
				all[inBody] = value
				break
			}
		}
		var text string
		if err := json.Unmarshal([]byte(all[inBody]), &text); err == nil && object[inBody] != nil {
			all[inBody] = text
		}
	}
	return all
}
