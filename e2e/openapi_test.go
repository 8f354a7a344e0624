package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// describedCall is a call made by a test in package admin, with its response.
type describedCall struct {
	Method, Pattern, ID, URL string
	Header                   http.Header
	Body                     []byte
	Status                   int
	AnswerHeader             http.Header
	Answer                   []byte
}

// TestOpenAPI runs package admin's tests and compares their calls and responses with
// openapi.json.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	document := openAPI(t)
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("got OpenAPI version %s", document.OpenAPI)
	}
	path := filepath.Join(t.TempDir(), "exchanges")
	tests := exec.CommandContext(t.Context(), "go", "test", "-C", "..", "-count", "1", "./admin")
	tests.Env = append(os.Environ(), "MOLLYGATE_TEST_EXCHANGES="+path)
	if out, err := tests.CombinedOutput(); err != nil {
		t.Fatalf("running package admin's tests: %v\n%s", err, out)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	carriedOut := make(map[string]bool)
	for lines := json.NewDecoder(bufio.NewReader(file)); ; {
		var e describedCall
		err := lines.Decode(&e)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := checkDescribed(t, document, e); err != nil {
			t.Errorf("%s %s: %v", e.Method, e.URL, err)
		}
		carriedOut[e.Method+" "+e.Pattern] = carriedOut[e.Method+" "+e.Pattern] || e.Status < 300
	}
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			if !carriedOut[method+" "+path] {
				t.Errorf("%s %s never succeeded", method, path)
			}
		}
	}
}

func openAPI(t *testing.T) *openapi3.T {
	t.Helper()
	text, err := os.ReadFile("../admin/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err == nil {
		err = document.Validate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// checkDescribed returns an error if a response doesn't match openapi.json, or if a request
// succeeded that openapi.json doesn't allow.
func checkDescribed(t *testing.T, document *openapi3.T, e describedCall) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), e.Method, e.URL, bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	request.Header = e.Header
	item := document.Paths.Value(e.Pattern)
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: map[string]string{"id": e.ID}, QueryParams: request.URL.Query(),
		Route: &routers.Route{Spec: document, Path: e.Pattern, PathItem: item, Method: e.Method,
			Operation: item.GetOperation(e.Method)},
		Options: &openapi3filter.Options{IncludeResponseStatus: true,
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if e.Status < 300 {
		if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
			return fmt.Errorf("openapi.json doesn't allow this request, but it succeeded: %w", err)
		}
	}
	if (e.Pattern == "/backup" || e.Pattern == "/events") && e.Status == http.StatusOK {
		return nil // not JSON
	}
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: e.Status, Header: e.AnswerHeader, Options: input.Options,
		Body: io.NopCloser(bytes.NewReader(e.Answer)),
	}
	if err := openapi3filter.ValidateResponse(t.Context(), response); err != nil {
		return fmt.Errorf("the response with status %d doesn't match openapi.json: %w", e.Status, err)
	}
	return nil
}

// TestCheckDescribed tests checkDescribed.
func TestCheckDescribed(t *testing.T) {
	t.Parallel()
	document := openAPI(t)
	for name, response := range map[string]struct {
		status int
		body   string
	}{
		"a missing member": {http.StatusOK, `{"data":[{"id":"4fQ9Zt2LkVb7"}],"next_cursor":null}`},
		"another status":   {http.StatusTeapot, `{}`},
		"no JSON":          {http.StatusOK, `x`},
	} {
		err := checkDescribed(t, document, describedCall{
			Method: http.MethodGet, Pattern: "/tokens", URL: "/tokens",
			Status: response.status, AnswerHeader: http.Header{"Content-Type": {"application/json"}},
			Answer: []byte(response.body),
		})
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
