package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

const (
	first  = "11111111-1111-4111-8111-111111111111"
	second = "22222222-2222-4222-8222-222222222222"
)

// output collects what the program writes to standard error.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program until the test ends and returns the URL that the program writes.
func start(t *testing.T, environment string, args ...string) (url string, stderr *output) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, writer := io.Pipe()
	stderr = &output{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), environment, writer, stderr)
		_ = writer.Close()
	}()
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	t.Cleanup(func() {
		cancel()
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("got more standard output %q, error %v, want only the URL", rest, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatalf("reading the URL: %v; standard error: %s", err, stderr)
	}
	return strings.TrimSuffix(line, "\n"), stderr
}

// get sends a request. The response's body is closed at the end of the test.
func get(t *testing.T, url, token string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func list(t *testing.T, url, token string) (int, string) {
	t.Helper()
	response := get(t, url+"/api/unikernels", token)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestTokensFromFlagAndEnvironment(t *testing.T) {
	t.Parallel()
	url, stderr := start(t, first, "-token", "Bob="+second)
	for _, token := range []string{first, second} {
		if status, body := list(t, url, token); status != 200 || !strings.Contains(body, `"name":"hello"`) {
			t.Errorf("with the given token: got %d %s, want 200 and hello", status, body)
		}
		if strings.Contains(stderr.String(), token) {
			t.Error("standard error contains a token")
		}
	}
	if !strings.Contains(stderr.String(), "sign in with POST "+url+"/api/login as demo@example.com") {
		t.Errorf("standard error doesn't explain how to sign in: %s", stderr)
	}
}

func TestTokenIsCreated(t *testing.T) {
	t.Parallel()
	url, stderr := start(t, "")
	_, rest, _ := strings.Cut(stderr.String(), "token for demo: ")
	token, _, _ := strings.Cut(rest, "\n")
	if status, body := list(t, url, token); status != 200 {
		t.Errorf("with the generated token: got %d %s, want 200", status, body)
	}
}

func TestConsoleEmitsLines(t *testing.T) {
	t.Parallel()
	url, _ := start(t, first)
	response := get(t, url+"/api/unikernel/console?instance=default&unikernel=hello", first)
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, "hello from hello, line ") {
		t.Errorf("reading the console: got %q and error %v, want a line from hello", line, err)
	}
}

func TestGeneration(t *testing.T) {
	t.Parallel()
	url, _ := start(t, first, "-generation", "2025")
	response := get(t, url+"/api/volume/delete", first)
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %s, want application/json", got)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args        []string
		environment string
		want        string
	}{
		{[]string{"-generation", "2024"}, "", "use current or 2025"},
		{[]string{"-token", "secret-1"}, "", "lower-case UUIDs"},
		{[]string{"-token", "a_b=" + first}, "", "invalid user of a token"},
		{nil, "secret-1", "lower-case UUIDs"},
		{[]string{"serve"}, "", `unexpected argument "serve"`},
		{[]string{"-listen", "nowhere.invalid:0"}, "", "listening for HTTP"},
	} {
		var stderr bytes.Buffer
		err := run(t.Context(), test.args, test.environment, io.Discard, &stderr)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.args, err, test.want)
		}
		if strings.Contains(stderr.String()+err.Error(), "secret-1") {
			t.Errorf("%v: the error reveals the secret", test.args)
		}
	}
}
