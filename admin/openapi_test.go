package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// described is the document that the API serves.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	document, err := openapi3.NewLoader().LoadFromData(description)
	if err == nil {
		err = document.Validate(context.Background())
	}
	return document, err
})

// TestDescriptionIsOpenAPI also serves it as it is embedded.
func TestDescriptionIsOpenAPI(t *testing.T) {
	t.Parallel()
	document, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("version %s", document.OpenAPI)
	}
	w := newFixture(t).do(http.MethodGet, "/openapi.json", "")
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), description) {
		t.Errorf("%d, %d bytes of %d", w.Code, w.Body.Len(), len(description))
	}
}

// TestDescriptionHasAllCalls: no call and no parameter is missing in it, and none is
// only in it.
func TestDescriptionHasAllCalls(t *testing.T) {
	t.Parallel()
	document, err := described()
	if err != nil {
		t.Fatal(err)
	}
	var there, told []string
	for _, r := range routes {
		call := r.method + " " + r.path
		there = append(there, call)
		operation := document.Paths.Value(r.path).GetOperation(r.method)
		if operation == nil {
			continue
		}
		var parameters []string
		for _, p := range operation.Parameters {
			if p.Value.In == openapi3.ParameterInQuery {
				parameters = append(parameters, p.Value.Name)
			}
		}
		want := slices.Clone(r.parameters)
		slices.Sort(want)
		slices.Sort(parameters)
		if !slices.Equal(parameters, want) {
			t.Errorf("%s: parameters %q, want %q", call, parameters, want)
		}
	}
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			told = append(told, method+" "+path)
		}
	}
	slices.Sort(there)
	slices.Sort(told)
	if !slices.Equal(there, told) {
		t.Errorf("there are  %q\ndescribed are %q", there, told)
	}
}

// TestDescriptionHasAllMembers compares the members of the bodies.
func TestDescriptionHasAllMembers(t *testing.T) {
	t.Parallel()
	document, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for schema, body := range map[string]any{"CreateToken": &createInput{}, "EditToken": &editInput{}, "RotateToken": &rotateInput{}} {
		properties := document.Components.Schemas[schema].Value.Properties
		// What an unknown member is told are those there are.
		refusal := decode([]byte(`{"unknown member":1}`), body)
		_, known, _ := strings.Cut(refusal.Problem.Detail, "known are ")
		members := strings.Split(known, ", ")
		for _, member := range members {
			if properties[member] == nil {
				t.Errorf("%s lacks %s", schema, member)
			}
		}
		if len(members) != len(properties) {
			t.Errorf("%s has %d members, and %d are taken: %s", schema, len(properties), len(members), known)
		}
	}
}

// checked counts the checks of a call's answers with a status: a check is slow, and
// some tests make thousands of calls.
var checked sync.Map

// enough says whether so many answers of this kind have been checked already.
func enough(r *http.Request, status int) bool {
	const most = 50
	pattern, _ := patternOf(r)
	count, _ := checked.LoadOrStore(fmt.Sprint(r.Method, " ", pattern, " ", status), new(atomic.Int64))
	return count.(*atomic.Int64).Add(1) > most
}

// checkDescribed holds a call and its answer against the document. A request that
// was carried out must be one that the document allows.
func checkDescribed(r *http.Request, body []byte, w *httptest.ResponseRecorder) error {
	pattern, id := patternOf(r)
	if found, _ := findRoute(r.Method, pattern); found == nil {
		return nil // there is nothing to describe
	}
	document, err := described()
	if err != nil {
		return err
	}
	item := document.Paths.Value(pattern)
	operation := item.GetOperation(r.Method)
	if operation == nil {
		return errors.New("the call isn't in openapi.json")
	}
	request := r.Clone(context.Background())
	request.Body = io.NopCloser(bytes.NewReader(body))
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: map[string]string{"id": id}, QueryParams: r.URL.Query(),
		Route:   &routers.Route{Spec: document, Path: pattern, PathItem: item, Method: r.Method, Operation: operation},
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if w.Code < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("it was carried out, and openapi.json doesn't allow it: %w", err)
		}
	}
	if pattern == "/backup" && w.Code == http.StatusOK {
		return nil
	}
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(), Options: input.Options,
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
	}
	if err := openapi3filter.ValidateResponse(context.Background(), answer); err != nil {
		return fmt.Errorf("the answer %d isn't as openapi.json has it: %w", w.Code, err)
	}
	return nil
}

// TestDescriptionIsHeld: the check sees what isn't described.
func TestDescriptionIsHeld(t *testing.T) {
	t.Parallel()
	page := map[string]any{"data": []any{map[string]any{"id": "4fQ9Zt2LkVb7"}}, "next_cursor": nil}
	text, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"a member missing": {200, string(text)},
		"another status":   {418, `{}`},
		"no JSON":          {200, `x`},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.status)
		_, _ = w.WriteString(answer.body)
		if err := checkDescribed(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/tokens"}}, nil, w); err == nil {
			t.Errorf("%s: it isn't seen", name)
		}
	}
}
