// Package xcaddybuild builds Caddy as described in a manifest, xcaddy.toml.
//
// xcaddy itself has no configuration file, so this package reads one and passes the
// settings to xcaddy's Go library. Parsing is strict: an unknown key is an error. Errors
// include line numbers.
package xcaddybuild

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// A Manifest describes a build of Caddy. Load makes its paths absolute.
type Manifest struct {
	CaddyVersion string
	Output       string // file to write the Caddy binary to
	Plugins      []Plugin
	Replacements []Replacement
}

// A Plugin is a package that registers Caddy modules when it is imported.
type Plugin struct {
	Module  string // import path of a module, or of a package in one
	Version string // version, branch or commit; ignored if a replacement covers Module
}

// A Replacement replaces all versions of a module.
type Replacement struct {
	Old string // module path
	New string // absolute directory, or module@version
}

// covers reports whether the package with this path belongs to the replaced module.
func (r Replacement) covers(path string) bool {
	return isWithin(path, r.Old)
}

// isWithin reports whether path is equal to parent or below it.
func isWithin(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// replaced reports whether a replacement covers the package with this path.
func (m *Manifest) replaced(path string) bool {
	return slices.ContainsFunc(m.Replacements, func(r Replacement) bool { return r.covers(path) })
}

// Load reads the manifest from file. It resolves relative paths against the file's
// directory. The error lists all mistakes with their line numbers.
func Load(file string) (*Manifest, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the build manifest: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("locating the build manifest: %w", err)
	}

	r := reader{file: file, dir: dir, lines: keyLines(string(text))}
	root := table{reader: &r}
	if _, err := toml.Decode(string(text), &root.values); err != nil {
		if syntax, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("%s:%d: %s", file, syntax.Position.Line, syntax.Message)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	m := r.manifest(root)
	if err := r.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// A reader converts TOML tables to a Manifest and collects the mistakes in them.
type reader struct {
	file     string
	dir      string
	lines    map[string]int // see keyLines
	mistakes []mistake
}

type mistake struct {
	line int // 0 if unknown
	text string
}

func (r *reader) mistake(line int, format string, args ...any) {
	r.mistakes = append(r.mistakes, mistake{line, fmt.Sprintf(format, args...)})
}

// err returns the mistakes, ordered by line, or nil if there are none.
func (r *reader) err() error {
	slices.SortStableFunc(r.mistakes, func(a, b mistake) int { return a.line - b.line })
	errs := make([]error, 0, len(r.mistakes))
	for _, m := range r.mistakes {
		where := r.file
		if m.line > 0 {
			where = fmt.Sprintf("%s:%d", r.file, m.line)
		}
		errs = append(errs, fmt.Errorf("%s: %s", where, m.text))
	}
	return errors.Join(errs...)
}

func (r *reader) manifest(root table) *Manifest {
	root.checkKeys("caddy_version", "output", "plugins", "replacements")
	m := &Manifest{
		CaddyVersion: root.needText("caddy_version", "v2.11.9"),
		Output:       r.path(root.needText("output", "bin/caddy")),
	}
	r.checkVersion(root.line("caddy_version"), m.CaddyVersion)

	// Read the replacements first, because they determine which plugins need a version.
	for _, t := range root.tables("replacements") {
		m.addReplacement(t)
	}
	for _, t := range root.tables("plugins") {
		m.addPlugin(t)
	}
	return m
}

func (m *Manifest) addReplacement(t table) {
	t.checkKeys("old", "new")
	r := Replacement{
		Old: t.needText("old", "example.com/plugin"),
		New: t.needText("new", "../plugin"),
	}
	if r.Old == "" || r.New == "" {
		return // needText has recorded the mistake
	}
	if !importPath.MatchString(r.Old) {
		t.mistake(t.line("old"),
			"old = %q isn't a module path: write one such as \"example.com/plugin\", without a version", r.Old)
	}
	if slices.ContainsFunc(m.Replacements, func(other Replacement) bool { return other.Old == r.Old }) {
		t.mistake(t.line("old"), "%q is replaced twice: delete one of the two [[replacements]]", r.Old)
	}
	switch path, version, _ := strings.Cut(r.New, "@"); {
	case isDirectory(r.New):
		r.New = t.path(r.New)
		if _, err := os.Stat(filepath.Join(r.New, "go.mod")); err != nil {
			t.mistake(t.line("new"),
				"there is no go.mod in %s: write the directory of a module, relative to this file", r.New)
		}
	case !importPath.MatchString(path) || version == "":
		t.mistake(t.line("new"),
			"new = %q is neither a directory nor a module: write a directory as \"./%s\", "+
				"a module as \"example.com/fork@v1.2.3\"", r.New, r.New)
	}
	m.Replacements = append(m.Replacements, r)
}

func (m *Manifest) addPlugin(t table) {
	t.checkKeys("module", "version")
	p := Plugin{
		Module:  t.needText("module", "example.com/plugin"),
		Version: t.text("version", "v1.2.3"),
	}
	if p.Module == "" {
		return // needText has recorded the mistake
	}
	if !importPath.MatchString(p.Module) {
		t.mistake(t.line("module"),
			"module = %q isn't an import path: write one such as \"example.com/plugin\", "+
				"and its version as version = \"v1.2.3\"", p.Module)
	}
	if slices.ContainsFunc(m.Plugins, func(other Plugin) bool { return other.Module == p.Module }) {
		t.mistake(t.line("module"), "plugin %q is listed twice: delete one of the two [[plugins]]", p.Module)
	}
	switch {
	case m.replaced(p.Module):
		// The replacement determines the version.
	case t.empty("version"):
		t.mistake(t.line("version"),
			"plugin %q has no version: write version = \"v1.2.3\", or version = \"latest\" for the newest one",
			p.Module)
	case majorBelow.MatchString(p.Module) && strings.HasPrefix(p.Version, "v"):
		// xcaddy would look up example.com/plugin/v2/caddy/v2.
		t.mistake(t.line("version"),
			"xcaddy can't pin %q, a package in a /vN module, to a version: write the commit tagged %s",
			p.Module, p.Version)
	}
	t.checkVersion(t.line("version"), p.Version)
	m.Plugins = append(m.Plugins, p)
}

var (
	importPath    = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._~-]+)*$`)
	majorBelow    = regexp.MustCompile(`/v[0-9]+/`)
	bareVersion   = regexp.MustCompile(`^[0-9]+\.`)
	versionSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+/-]*$`)
)

func (r *reader) checkVersion(line int, version string) {
	switch {
	case version == "":
	case bareVersion.MatchString(version):
		r.mistake(line, "version %q lacks the prefix v: write \"v%s\"", version, version)
	case !versionSyntax.MatchString(version):
		r.mistake(line, "%q isn't a version: write one such as \"v1.2.3\", a branch or a commit", version)
	}
}

// path returns the absolute form of a path that may be relative to the manifest's
// directory.
func (r *reader) path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}

// isDirectory reports whether path is a directory rather than a module path, using the same
// rule as the go command.
func isDirectory(path string) bool {
	return path == "." || path == ".." || strings.HasPrefix(path, "./") ||
		strings.HasPrefix(path, "../") || filepath.IsAbs(path)
}

// A table is a TOML table in the manifest.
type table struct {
	*reader
	name   string // for messages: "[[plugins]]", or "" for the top level
	at     string // the table's key in lines: "plugins.0", or "" for the top level
	values map[string]any
}

// line returns key's line number, or the table header's if key is missing.
func (t table) line(key string) int {
	if t.at == "" {
		return t.lines[key]
	}
	if line, ok := t.lines[t.at+"."+key]; ok {
		return line
	}
	return t.lines[t.at]
}

// where returns a phrase that names the table, for use in error messages.
func (t table) where() string {
	if t.name == "" {
		return ""
	}
	return " in " + t.name
}

// checkKeys records a mistake for each unknown key.
func (t table) checkKeys(known ...string) {
	for key := range t.values {
		if !slices.Contains(known, key) {
			t.mistake(t.line(key), "unknown key %q%s: the keys are %s", key, t.where(), strings.Join(known, ", "))
		}
	}
}

// text returns the string at key, or "" if there is none.
func (t table) text(key, example string) string {
	value, found := t.values[key]
	text, ok := value.(string)
	if found && !ok {
		t.mistake(t.line(key), "%s%s must be a string in quotes: write %s = %q", key, t.where(), key, example)
	}
	return text
}

// empty reports whether key is missing or "".
func (t table) empty(key string) bool {
	value, found := t.values[key]
	return !found || value == ""
}

// needText is like text, but key must not be missing or empty.
func (t table) needText(key, example string) string {
	if t.empty(key) {
		t.mistake(t.line(key), "%s is missing%s: write %s = %q", key, t.where(), key, example)
	}
	return t.text(key, example)
}

// tables returns the tables written as [[key]].
func (t table) tables(key string) []table {
	value, found := t.values[key]
	if !found {
		return nil
	}
	list, ok := value.([]map[string]any)
	if !ok {
		t.mistake(t.line(key), "%s must be an array of tables: write [[%s]] on a line above each one", key, key)
		return nil
	}
	tables := make([]table, len(list))
	for i, values := range list {
		tables[i] = table{t.reader, "[[" + key + "]]", fmt.Sprintf("%s.%d", key, i), values}
	}
	return tables
}

var (
	headerLine = regexp.MustCompile(`^\s*(\[\[?)\s*"?([\w-]+)`)
	keyLine    = regexp.MustCompile(`^\s*["']?([\w-]+)`)
)

// keyLines returns the number of the line on which each key or table first occurs. The TOML
// library doesn't report these numbers. The map's keys are "output" for a top-level key,
// "plugins.0" for the first [[plugins]] table, and "plugins.0.module" for a key in that
// table.
func keyLines(text string) map[string]int {
	lines := make(map[string]int)
	seen := make(map[string]int) // number of [[tables]] so far, by name
	add := func(key string, line int) {
		if _, ok := lines[key]; !ok {
			lines[key] = line
		}
	}
	prefix := ""
	for i, line := range strings.Split(text, "\n") {
		if header := headerLine.FindStringSubmatch(line); header != nil {
			name := header[2]
			add(name, i+1)
			if header[1] == "[[" {
				at := fmt.Sprintf("%s.%d", name, seen[name])
				seen[name]++
				add(at, i+1)
				name = at
			}
			prefix = name + "."
		} else if key := keyLine.FindStringSubmatch(line); key != nil {
			add(prefix+key[1], i+1)
		}
	}
	return lines
}
