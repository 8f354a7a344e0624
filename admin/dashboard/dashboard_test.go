package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
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
		"/main.js":          "text/javascript; charset=utf-8",
		"/vendor/preact.js": "text/javascript; charset=utf-8",
		"/style.css":        "text/css; charset=utf-8",
		"/icon.svg":         "image/svg+xml", "/icons.svg": "image/svg+xml",
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
	for _, path := range []string{"/x", "/static/main.js", "/../dashboard.go", "//", "/main.js/", "/vendor",
		"/vendor/", "/package.json"} {
		if New().Has(path) || serve(http.MethodGet, path).Code != http.StatusNotFound {
			t.Errorf("%s exists", path)
		}
	}
}

// documentation is the only other address that the dashboard links to.
const documentation = "https://github.com/mollygate/mollygate/"

// TestNoHTMLParsing verifies that the files contain no code that could turn text into markup
// or scripts, no inline scripts or styles, and no references to other hosts. It skips vendor,
// whose content TestVendored pins.
func TestNoHTMLParsing(t *testing.T) {
	t.Parallel()
	forbidden := regexp.MustCompile(
		`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function|` +
			`setTimeout\("|setHTML|dangerouslySetInnerHTML|createContextualFragment|https?://[^w]|style=|` +
			`<style|<script>|onclick="`)
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.HasPrefix(name, "static/vendor/") {
			return nil
		}
		content, err := fs.ReadFile(files, name)
		for line := range strings.Lines(strings.ReplaceAll(string(content), documentation, "")) {
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

// TestSize verifies that a browser can open the dashboard quickly, even if the server doesn't
// compress responses. The first page is the overview; other pages and forms are loaded when
// they are first used.
func TestSize(t *testing.T) {
	t.Parallel()
	const most = 122_880 // bytes
	first := map[string]bool{"/index.html": true, "/style.css": true, "/icon.svg": true, "/icons.svg": true}
	addModules(first, "/main.js")
	addModules(first, "/overview.js")
	var opened, total int
	var sizes strings.Builder
	for _, name := range slices.Sorted(maps.Keys(load())) {
		if name == "/" { // the same file as /index.html
			continue
		}
		size := len(load()[name].content)
		total += size
		if first[name] {
			opened += size
			fmt.Fprintf(&sizes, "\n%7d %s", size, name)
		}
	}
	if t.Logf("%d bytes to open the dashboard, %d bytes for all pages and forms", opened, total); opened > most {
		t.Errorf("want at most %d bytes to open the dashboard:%s", most, &sizes)
	}
}

// addModules adds a module and all modules that it imports statically to a set.
func addModules(set map[string]bool, name string) {
	if set[name] {
		return
	}
	set[name] = true
	for _, match := range imports.FindAllStringSubmatch(string(load()[name].content), -1) {
		if match[1] != "" {
			addModules(set, path.Join(path.Dir(name), match[1]))
		}
	}
}

// imports matches an import. The first group is the file of a static import, and the second
// one that of a dynamic import.
var imports = regexp.MustCompile(
	`(?:^|[;}\n])(?:import|export)\b(?:[^;"'(]*\bfrom)?\s*"([^"]+)"|\bimport\("([^"]+)"\)`)

// TestVendored verifies that vendored files are served exactly as published in their npm
// packages.
func TestVendored(t *testing.T) {
	t.Parallel()
	pinned := map[string]string{
		// preact/standalone.module.js in htm 3.1.1, which contains Preact 10
		"/vendor/preact.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
	}
	for name, file := range load() {
		if !strings.HasPrefix(name, "/vendor/") {
			continue
		}
		if sum := sha256.Sum256(file.content); hex.EncodeToString(sum[:]) != pinned[name] {
			t.Errorf("%s: got SHA-256 %x, want %q", name, sum, pinned[name])
		}
	}
}

// TestImports verifies that every file that a served module imports exists.
func TestImports(t *testing.T) {
	t.Parallel()
	found := 0
	for name, file := range load() {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, match := range imports.FindAllStringSubmatch(string(file.content), -1) {
			found++
			imported := match[1] + match[2]
			if _, ok := load()[path.Join(path.Dir(name), imported)]; !ok || !strings.HasPrefix(imported, ".") {
				t.Errorf("%s imports %q, which doesn't exist", name, imported)
			}
		}
	}
	if found == 0 {
		t.Error("found no imports")
	}
}

// TestNoVar verifies that modules declare variables only with const and let. The minifier can
// move a var declaration with a pattern before the values that it uses.
func TestNoVar(t *testing.T) {
	t.Parallel()
	declaration := regexp.MustCompile(`^\s*(?:export\s+|for\s*\(\s*)?var\s`)
	modules, err := fs.Glob(files, "static/*.js")
	if err != nil || len(modules) == 0 {
		t.Fatalf("got modules %v and error %v", modules, err)
	}
	for _, name := range modules {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if declaration.MatchString(line) {
				t.Errorf("%s contains %s", name, line)
			}
		}
	}
}
