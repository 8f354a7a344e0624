package dashboard

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func serve(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w
}

// TestFiles verifies each file's content type, security headers and revalidation.
func TestFiles(t *testing.T) {
	t.Parallel()
	types := map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8",
		"/main.js":   "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml",
	}
	for path, want := range types {
		w := serve(http.MethodGet, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != want || w.Body.Len() == 0 {
			t.Errorf("%s: got status %d and headers %v", path, w.Code, w.Header())
		}
		for name, value := range header {
			if w.Header().Get(name) != value {
				t.Errorf("%s: got unexpected %s %q", path, name, w.Header().Get(name))
			}
		}
		for _, tag := range []string{w.Header().Get("ETag"), "W/" + w.Header().Get("ETag"),
			`"x", ` + w.Header().Get("ETag")} {
			if again := serve(http.MethodGet, path, "If-None-Match", tag); again.Code != http.StatusNotModified ||
				again.Body.Len() != 0 {
				t.Errorf("%s with %s: got status %d", path, tag, again.Code)
			}
		}
		if w := serve(http.MethodPost, path); w.Code != http.StatusMethodNotAllowed ||
			w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: got status %d", path, w.Code)
		}
	}
	for _, path := range []string{"/x", "/static/main.js", "/../dashboard.go", "//", "/main.js/"} {
		if New().Has(path) || serve(http.MethodGet, path).Code != http.StatusNotFound {
			t.Errorf("%s exists", path)
		}
	}
}

// TestNoHTMLParsing verifies that the files contain no code that could turn text into markup
// or scripts, no inline scripts or styles, and no references to other hosts.
func TestNoHTMLParsing(t *testing.T) {
	t.Parallel()
	forbidden := regexp.MustCompile(
		`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function|` +
			`setTimeout\("|setHTML|createContextualFragment|https?://[^w]|style=|<style|<script>|onclick="`)
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		for line := range strings.Lines(string(content)) {
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s contains %q: %s", name, found, line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
