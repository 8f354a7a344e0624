// Package dashboard serves the dashboard, which is the admin API's web interface. It
// consists of static files that call only the admin API, at a path relative to their own.
// JavaScript and style sheets are minified when they are first needed.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/css"
	"github.com/tdewolff/minify/v2/js"

	"github.com/mollygate/mollygate/admin/etag"
)

//go:embed static
var files embed.FS

// header holds the response headers of every file. The page loads nothing from other hosts,
// has no inline scripts or styles, and can't be framed by other pages.
var header = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cache-Control":                "no-cache", // revalidated using the ETag
}

// file is a static file.
type file struct {
	contentType, etag string
	content           []byte
}

// Handler serves the dashboard.
type Handler struct{ files map[string]file }

// New returns the handler.
func New() *Handler { return &Handler{files: load()} }

// load returns the files by path. All handlers of a process share them.
var load = sync.OnceValue(func() map[string]file {
	loaded := make(map[string]file)
	static, err := fs.Sub(files, "static")
	if err == nil {
		err = fs.WalkDir(static, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := fs.ReadFile(static, name)
			if err == nil {
				content, err = minified(name, content)
			}
			sum := sha256.Sum256(content)
			loaded["/"+name] = file{
				contentType: contentType(name), content: content,
				etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
			}
			return err
		})
	}
	if err != nil {
		panic(err) // can't happen: the files are embedded, and a test minifies them
	}
	loaded["/"] = loaded["/index.html"]
	return loaded
})

// minified returns the content of a file without comments and unnecessary whitespace. It
// doesn't change files in vendor, which are already minified.
func minified(name string, content []byte) ([]byte, error) {
	if strings.HasPrefix(name, "vendor/") {
		return content, nil
	}
	var minifier minify.Minifier
	switch path.Ext(name) {
	case ".js":
		minifier = &js.Minifier{}
	case ".css":
		minifier = &css.Minifier{}
	default:
		return content, nil
	}
	var out bytes.Buffer
	err := minifier.Minify(minify.New(), &out, bytes.NewReader(content), nil)
	return out.Bytes(), err
}

// contentType returns the media type of a file. For JavaScript, the result doesn't depend
// on the machine's configuration.
func contentType(name string) string {
	switch extension := path.Ext(name); extension {
	case ".js":
		return "text/javascript; charset=utf-8"
	default:
		return mime.TypeByExtension(extension)
	}
}

// Has reports whether a file exists at the path.
func (h *Handler) Has(path string) bool {
	_, ok := h.files[path]
	return ok
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := h.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	for name, value := range header {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("ETag", found.etag)
	if etag.Match(r.Header["If-None-Match"], found.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", found.contentType)
	_, _ = w.Write(found.content) // the client may be gone
}

var _ http.Handler = (*Handler)(nil)
