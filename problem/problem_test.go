package problem_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/problem"
)

var denied = problem.Problem{
	Status: http.StatusForbidden, Code: "insufficient_scope", Title: "Insufficient scope",
	Detail: `This key lacks the scope "a:b".`,
}

// The body follows RFC 9457 and has the success and data members for Mollymawk's clients.
func TestBody(t *testing.T) {
	body, err := json.Marshal(jsonOf(t, denied.With("required_scope", "a:b").With("n", 3)))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"code":"insufficient_scope","data":"This key lacks the scope \"a:b\".",` +
		`"detail":"This key lacks the scope \"a:b\".","n":3,` +
		`"required_scope":"a:b","status":403,"success":false,"title":"Insufficient scope",` +
		`"type":"https://github.com/mollygate/mollygate/blob/main/docs/errors.md#insufficient_scope"}`
	if string(body) != want {
		t.Errorf("got body\n%s\nwant\n%s", body, want)
	}
}

func jsonOf(t *testing.T, p problem.Problem) any {
	t.Helper()
	response := httptest.NewRecorder()
	problem.Write(response, p)
	var value any
	if err := json.Unmarshal(response.Body.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// With must return a new problem and leave its receiver unchanged.
func TestWithLeavesTheBase(t *testing.T) {
	members := []problem.Member{{Name: "a", Value: 1}, {Name: "b", Value: 2}, {Name: "c", Value: 3}}
	base := denied.With("a", 1).With("b", 2).With("c", 3)
	first, second := base.With("d", 4), base.With("e", 5)
	for _, tt := range []struct {
		problem problem.Problem
		want    []problem.Member
	}{
		{base, members},
		{first, append(members[:3:3], problem.Member{Name: "d", Value: 4})},
		{second, append(members[:3:3], problem.Member{Name: "e", Value: 5})},
		{denied, nil},
	} {
		if !reflect.DeepEqual(tt.problem.Members, tt.want) {
			t.Errorf("got members %v, want %v", tt.problem.Members, tt.want)
		}
	}
}

// Invalid UTF-8 must not make the response invalid.
func TestInvalidUTF8(t *testing.T) {
	value := jsonOf(t, denied.With("client_ip", "\xff")).(map[string]any)
	if value["client_ip"] != "\ufffd" || value["code"] != "insufficient_scope" {
		t.Errorf("got body %v, want the invalid byte replaced", value)
	}
}

func TestWrite(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Allow", "GET")
		problem.Write(w, denied)
	}))
	defer server.Close()
	lengths := make(map[string]string)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got status %d, want 403", method, response.StatusCode)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/problem+json", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Allow": "GET",
		} {
			if got := strings.Join(response.Header.Values(name), "|"); got != want {
				t.Errorf("%s: got %s %q, want %q", method, name, got, want)
			}
		}
		lengths[method] = response.Header.Get("Content-Length")
		if sent := strconv.Itoa(len(body)); method == http.MethodGet && lengths[method] != sent {
			t.Errorf("got Content-Length %s, want %s", lengths[method], sent)
		}
		if method == http.MethodHead && len(body) != 0 {
			t.Errorf("the response to HEAD has a body: %s", body)
		}
	}
	if lengths["GET"] != lengths["HEAD"] || lengths["GET"] == "" {
		t.Errorf("got Content-Lengths %v, want the same for GET and HEAD", lengths)
	}
}
