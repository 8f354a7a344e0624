package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
)

// parameter is a call's parameter, or a reference to a parameter.
type parameter struct {
	Ref  string `json:"$ref"`
	Name string
	In   string
}

// document is the part of openapi.json that these tests read. TestOpenAPI in e2e verifies
// that the document is valid and that responses match it.
type document struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Parameters map[string]parameter
		Schemas    map[string]struct {
			Properties map[string]json.RawMessage
		}
	}
}

func readDocument(t *testing.T) (d document) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queryParameters returns the names of the parameters in a query, in order.
func (d document) queryParameters(t *testing.T, of json.RawMessage) (names []string) {
	t.Helper()
	var parameters []parameter
	if err := json.Unmarshal(of, &parameters); err != nil && of != nil {
		t.Fatal(err)
	}
	for _, p := range parameters {
		if p.Ref != "" {
			p = d.Components.Parameters[path.Base(p.Ref)]
		}
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestDescriptionIsServed(t *testing.T) {
	t.Parallel()
	w := newFixture(t).do(http.MethodGet, "/openapi.json", "")
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), openAPI) {
		t.Errorf("got status %d and %d bytes, want %d bytes", w.Code, w.Body.Len(), len(openAPI))
	}
}

// TestDescriptionHasAllCalls verifies that openapi.json describes exactly the API's calls
// and parameters.
func TestDescriptionHasAllCalls(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	want := make(map[string][]string)
	for _, r := range routes {
		want[r.method+" "+r.path] = slices.Sorted(slices.Values(r.parameters))
	}
	described := 0
	for path, item := range d.Paths {
		for method, text := range item {
			if method == "parameters" { // shared by all the path's methods
				continue
			}
			described++
			call := strings.ToUpper(method) + " " + path
			parameters, known := want[call]
			if !known {
				t.Errorf("openapi.json describes an unknown call: %s", call)
			}
			var operation struct{ Parameters json.RawMessage }
			if err := json.Unmarshal(text, &operation); err != nil {
				t.Fatal(err)
			}
			if got := d.queryParameters(t, operation.Parameters); !slices.Equal(got, parameters) {
				t.Errorf("%s: got parameters %q, want %q", call, got, parameters)
			}
		}
	}
	if described != len(want) {
		t.Errorf("openapi.json has %d calls, want %d", described, len(want))
	}
}

// TestDescriptionHasAllMembers verifies that openapi.json describes exactly the request
// bodies' members.
func TestDescriptionHasAllMembers(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	for schema, body := range map[string]any{"CreateToken": &createInput{}, "EditToken": &editInput{},
		"RotateToken": &rotateInput{}} {
		properties := d.Components.Schemas[schema].Properties
		// The refusal for an unknown member lists the known members.
		refusal := decode([]byte(`{"unknown member":1}`), body)
		_, known, _ := strings.Cut(refusal.Problem.Detail, "known members are ")
		members := strings.Split(known, ", ")
		for _, member := range members {
			if properties[member] == nil {
				t.Errorf("%s has no member %s", schema, member)
			}
		}
		if len(members) != len(properties) {
			t.Errorf("%s has %d members, but the API accepts %d: %s", schema, len(properties), len(members), known)
		}
	}
}
