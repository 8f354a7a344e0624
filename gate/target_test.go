package gate

import (
	"errors"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestTargetSourceCheck checks the errors about target lines.
func TestTargetSourceCheck(t *testing.T) {
	t.Parallel()
	route := Route{Method: "POST", Path: "/projects/*/volumes"}
	for _, tt := range []struct {
		source TargetSource
		upload bool
		says   string
	}{
		{TargetSource{"project", "path", "2"}, false, ""},
		{TargetSource{"project", "path", "1"}, false, "the number of a *"},
		{TargetSource{"project", "path", "4"}, false, "the number of a *"},
		{TargetSource{"project", "path", "0"}, false, "the number of a *"},
		{TargetSource{"project", "path", "x"}, false, "the number of a *"},
		{TargetSource{"volume", "json", "volume.name"}, false, ""},
		{TargetSource{"volume", "json", "volume..name"}, false, "nested members"},
		{TargetSource{"volume", "json", ""}, false, "nested members"},
		{TargetSource{"volume", "json", "name"}, true, "only query and path"},
		{TargetSource{"volume", "query", "name"}, true, ""},
		{TargetSource{"volume", "query", "a&b"}, false, "a query parameter"},
		{TargetSource{"Volume", "query", "name"}, false, "lower case"},
		{TargetSource{"volume", "body", "name"}, false, "query, json or path"},
	} {
		route.Upload = tt.upload
		err := tt.source.Check(&route)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%+v, upload %t: got error %v, want %q", tt.source, tt.upload, err, tt.says)
		}
	}
}

// TestCustomTargets checks what is read as a target, what is forwarded, and that everything that
// programs read in different ways is refused.
func TestCustomTargets(t *testing.T) {
	t.Parallel()
	sources := map[string]TargetSource{"query": {"project", TargetInQuery, "name"}, "json": {"volume", TargetInJSON,
		"volume.name"}, "path": {"project", TargetInPath, "2"},
		"id": {"project", TargetInQuery, "project_id"}, "typed": {"unikernel", TargetInQuery, "name"}}
	types := []token.ResourceType{{Name: "unikernel", Check: func(name string) (string, error) {
		if strings.Contains(name, " ") {
			return "", errors.New("contains a space")
		}
		return strings.ToLower(name), nil
	}}}
	for _, tt := range []struct {
		source string
		call   Call
		// want lists the targets, or is the beginning of the error after "!".
		want string
		// forwarded is the query or the body, if it differs from the request's.
		forwarded string
	}{
		{"query", Call{Query: "name=web"}, "project/web", ""},
		{"query", Call{Query: "a=1&name=w%65b&flag"}, "project/web", "a=1&name=web&flag"},
		{"query", Call{Query: "n%61me=web"}, "project/web", "name=web"},
		{"query", Call{Query: "name=a%20b"}, "project/a b", ""},
		{"query", Call{Query: "name=a%2Bb"}, "project/a+b", ""},
		{"query", Call{Query: "name=a%2Fb"}, "project/a/b", ""},
		{"query", Call{Query: ""}, "!The query must contain", ""},
		{"query", Call{Query: "name"}, "!The name of the project is empty", ""},
		{"query", Call{Query: "name="}, "!The name of the project is empty", ""},
		{"query", Call{Query: "name=web&name=web"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&n%61me=api"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&Name=api"}, "!The query must contain", ""},
		{"query", Call{Query: "name[]=web"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&name[x]=api"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&%20name=api"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&name%00x=api"}, "!The query must contain", ""},
		{"query", Call{Query: "name=web&%00name=api"}, "!The query must contain", ""},
		{"id", Call{Query: "project_id=web&project=api&id=1&project__id=2"}, "project/web", ""},
		{"id", Call{Query: "project_id=web&project.id=api"}, "!The query must contain", ""},
		{"id", Call{Query: "project_id=web&project+id=api"}, "!The query must contain", ""},
		{"id", Call{Query: "project_id=web&project[id=api"}, "!The query must contain", ""},
		{"id", Call{Query: "project_id=web&Project.ID[x]=api"}, "!The query must contain", ""},
		{"id", Call{Query: "project.id=web"}, "!The query must contain", ""},
		{"query", Call{Query: "x=1;name=api&name=web"}, "!Write %3B", ""},
		{"query", Call{Query: "name=a+b"}, "!The query parameter name isn't escaped", ""},
		{"query", Call{Query: "name=%zz"}, "!The query parameter name isn't escaped", ""},
		{"query", Call{Query: "%zz=1&name=web"}, "!The query isn't escaped", ""},
		{"query", Call{Query: "name=%ff"}, "!The name of the project is empty or isn't text", ""},
		{"query", Call{Query: "name=a%00"}, "!The name of the project is empty or isn't text", ""},
		{"path", Call{Path: "/projects/web/x"}, "project/web", ""},
		{"path", Call{Path: "/projects/%C3%A9/x"}, "project/é", ""},
		{"path", Call{Path: "/projects"}, "!The path has no segment 2", ""},
		{"typed", Call{Query: "name=WEB"}, "unikernel/web", ""},
		{"typed", Call{Query: "name=a%20b"}, "!The name of the unikernel: contains a space", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"}}`)}, "volume/db", ""},
		{"json", Call{Query: "x=1&name=web", Body: []byte(`{"volume":{"name":"db"}}`)}, "volume/db", ""},
		{"json", Call{Query: "volume[name]=web", Body: []byte(`{"volume":{"name":"db"}}`)}, "!The query must not", ""},
		{"json", Call{Query: "v%6Flume=web", Body: []byte(`{"volume":{"name":"db"}}`)}, "!The query must not", ""},
		{"json", Call{Query: "x;volume=web", Body: []byte(`{"volume":{"name":"db"}}`)}, "!Write %3B", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":[["db"]]}}`)}, "!The JSON must not name", ""},
		{"json", Call{Body: []byte(`[[{"volume":{"name":"db"}}]]`)}, "!The JSON must not name", ""},
		{"json", Call{Body: []byte(`[{"volume":{"name":"db"}}]`)}, "volume/db", ""},
		{"json", Call{Body: []byte(" {\"volume\" : {\"n\\u0061me\":\"d\\u0062\"}, \"x\":[1.50] }\n")}, "volume/db",
			`{"volume":{"name":"db"},"x":[1.50]}`},
		{"json", Call{Body: []byte(`{"volume":{"name":["db","web"]}}`)}, "volume/db volume/web", ""},
		{"json", Call{Body: []byte(`{"volume":[{"name":"db"},{"name":42}]}`)}, "volume/db volume/42", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db","name":"web"}}`)}, "!The body isn't valid JSON", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"},"volume":{}}`)}, "!The body isn't valid JSON", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db","Name":"web"}}`)}, "!The JSON has a member whose name", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"},"VOLUME":1}`)}, "!The JSON has a member whose name", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":1.5}}`)}, "!The JSON must name", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":1e3}}`)}, "!The JSON must name", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":null}}`)}, "!The JSON must name", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":{"a":"db"}}}`)}, "!The JSON must name", ""},
		{"json", Call{Body: []byte(`{"volume":"db"}`)}, "!The JSON must be an object", ""},
		{"json", Call{Body: []byte(`{"volume":{}}`)}, "!The JSON must name the volume", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":[]}}`)}, "!The JSON must name the volume", ""},
		{"json", Call{Body: []byte(`{}`)}, "!The JSON must name the volume", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"}} {}`)}, "!The JSON value is followed", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"}`)}, "!The body isn't valid JSON", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"db"},}`)}, "!The body isn't valid JSON", ""},
		{"json", Call{Body: []byte(`{"volume":{"name":"\ud800"}}`)}, "!The body isn't valid JSON", ""},
		{"json", Call{Body: nil}, "!The body isn't valid JSON", ""},
		{"json", Call{ContentType: []string{"application/x-www-form-urlencoded"}, Body: []byte(`{}`)},
			"!Send the body", ""},
		{"json", Call{ContentType: []string{"application/json", "text/plain"}, Body: []byte(`{}`)},
			"!Send the body", ""},
		{"json", Call{ContentType: []string{"application/json; charset=utf-16"}, Body: []byte(`{}`)},
			"!Send the body", ""},
		{"json", Call{ContentType: []string{"application/x+json; charset=UTF-8"},
			Body: []byte(`{"volume":{"name":"db"}}`)},
			"volume/db", ""},
	} {
		call := tt.call
		if call.ContentType == nil {
			call.ContentType = []string{"application/json"}
		}
		targets, err := CustomTargets([]TargetSource{sources[tt.source]}, types)(&call)
		got := ""
		for _, target := range targets {
			got += " " + target.String()
		}
		got = strings.TrimPrefix(got, " ")
		if err != nil {
			got = "!" + err.Error()
		}
		forwarded := tt.call.Query + string(tt.call.Body)
		if tt.forwarded != "" {
			forwarded = tt.forwarded
		}
		right := got == tt.want || strings.HasPrefix(tt.want, "!") && strings.HasPrefix(got, tt.want)
		if !right || err == nil && call.Query+string(call.Body) != forwarded {
			t.Errorf("%s, %q %q %q: got %q, forwarded %q %q", tt.source, tt.call.Path, tt.call.Query, tt.call.Body, got,
				call.Query, call.Body)
		}
	}
}

// FuzzCustomTargets checks that what is forwarded is read again as the same targets.
func FuzzCustomTargets(f *testing.F) {
	f.Add("name=web", `{"volume":{"name":"db"}}`)
	f.Add("n%61me=w%65b&x=1", `{"volume":[{"name":["d\u0062",42]}]}`)
	sources := []TargetSource{{"project", TargetInQuery, "name"}, {"volume", TargetInJSON, "volume.name"}}
	read := CustomTargets(sources, nil)
	f.Fuzz(func(t *testing.T, query, body string) {
		call := Call{Query: query, Body: []byte(body), ContentType: []string{"application/json"}}
		first, err := read(&call)
		if err != nil {
			if _, ok := errors.AsType[*BodyError](err); !ok {
				t.Errorf("got error %v", err)
			}
			return
		}
		query, body = call.Query, string(call.Body)
		second, err := read(&call)
		if err != nil || call.Query != query || string(call.Body) != body || len(first) != len(second) {
			t.Fatalf("read again: %v %v, error %v", first, second, err)
		}
		for i := range first {
			if first[i] != second[i] {
				t.Errorf("got %v, then %v", first[i], second[i])
			}
		}
	})
}
