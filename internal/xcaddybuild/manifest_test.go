package xcaddybuild

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	shipped    = "../../xcaddy.toml"
	ourModule  = "github.com/mollygate/mollygate"
	caddy      = "github.com/caddyserver/caddy/v2"
	head       = "caddy_version = \"v2.11.9\"\noutput = \"caddy\"\n" // two lines
	somePlugin = "[[plugins]]\nmodule = \"example.com/a\"\nversion = \"v1.0.0\"\n"
)

// TestShippedManifestAgreesWithGoMod checks that xcaddy.toml specifies the same versions as
// go.mod, which this module's tests use.
func TestShippedManifestAgreesWithGoMod(t *testing.T) {
	m, err := Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../../go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Module  struct{ Path string }
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}

	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for _, p := range m.Plugins {
		ours = ours || p.Module == mod.Module.Path
	}
	if !ours {
		t.Errorf("this module, %s, isn't listed as a plugin", mod.Module.Path)
	}
	for _, r := range m.Replacements {
		if r.Old == mod.Module.Path && r.New != root {
			t.Errorf("this module is replaced by %s, want %s", r.New, root)
		}
	}
	if !m.replaced(mod.Module.Path) {
		t.Error("this module isn't replaced by the checkout")
	}
	if want := filepath.Join(root, "bin", "caddy"); m.Output != want {
		t.Errorf("got output %s, want %s", m.Output, want)
	}

	caddyFound := false
	for _, req := range mod.Require {
		if req.Path == caddy {
			caddyFound = true
			if m.CaddyVersion != req.Version {
				t.Errorf("got caddy_version %s, want %s as in go.mod", m.CaddyVersion, req.Version)
			}
		}
		for _, p := range m.Plugins {
			if isWithin(p.Module, req.Path) && p.Version != req.Version {
				t.Errorf("got plugin %s at version %q, want %s as in go.mod", p.Module, p.Version, req.Version)
			}
		}
	}
	if !caddyFound {
		t.Errorf("go.mod doesn't require %s", caddy)
	}
}

func TestLoadResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "fork", "go.mod"), "module example.com/a\n")
	m, err := Load(writeFile(t, filepath.Join(dir, "build", "xcaddy.toml"), `
caddy_version = "master"
output = "../caddy"
[[plugins]]
module = "example.com/a/caddy"
[[plugins]]
module = "example.com/b"
version = "latest"
[[replacements]]
old = "example.com/a"
new = "../fork"
[[replacements]]
old = "example.com/dependency"
new = "example.com/fork@v1.2.3"
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "caddy"); m.Output != want {
		t.Errorf("got output %s, want %s", m.Output, want)
	}
	if want := filepath.Join(dir, "fork"); m.Replacements[0].New != want {
		t.Errorf("got replacement %s, want %s", m.Replacements[0].New, want)
	}
	if want := "example.com/fork@v1.2.3"; m.Replacements[1].New != want {
		t.Errorf("got replacement %s, want %s", m.Replacements[1].New, want)
	}
	if len(m.Plugins) != 2 {
		t.Errorf("got plugins %v, want two", m.Plugins)
	}
}

func TestLoadMistakes(t *testing.T) {
	tests := map[string]struct {
		manifest string
		want     []string // one per line of the error
	}{
		"not TOML":      {head + "output =\n", []string{":3: "}},
		"duplicate key": {head + "output = \"b\"\n", []string{`:3: Key 'output' has already been defined`}},
		"unknown key": {head + "caddy = \"v2\"\n",
			[]string{`:3: unknown key "caddy": the keys are caddy_version, output, plugins, replacements`}},
		"unknown table": {head + "\n[build]\nx = 1\n", []string{`:4: unknown key "build"`}},
		"unknown key of a plugin": {
			head + somePlugin + "[[plugins]]\nmodule = \"example.com/b\"\nverison = \"v1.0.0\"\n",
			[]string{`:6: plugin "example.com/b" has no version: write version = "v1.2.3", or version = "latest"`,
				`:8: unknown key "verison" in [[plugins]]: the keys are module, version`}},
		"empty file": {"", []string{`caddy_version is missing: write caddy_version = "v2.11.9"`,
			`output is missing: write output = "bin/caddy"`}},
		"empty value": {"caddy_version = \"v2.11.9\"\noutput = \"\"\n", []string{`:2: output is missing`}},
		"wrong type": {"caddy_version = 2.11\noutput = [\"caddy\"]\n",
			[]string{`:1: caddy_version must be a string in quotes: write caddy_version = "v2.11.9"`,
				`:2: output must be a string`}},
		"version without prefix": {"caddy_version = \"2.11.9\"\noutput = \"caddy\"\n",
			[]string{`:1: version "2.11.9" lacks the prefix v: write "v2.11.9"`}},
		"version that is a flag": {"caddy_version = \"-x\"\noutput = \"caddy\"\n",
			[]string{`:1: "-x" isn't a version`}},
		"single brackets": {head + "[plugins]\nmodule = \"example.com/a\"\n",
			[]string{`:3: plugins must be an array of tables: write [[plugins]]`}},
		"list of strings": {head + "plugins = [\"example.com/a\"]\n",
			[]string{`:3: plugins must be an array of tables: write [[plugins]]`}},
		"plugin without module": {head + somePlugin + "[[plugins]]\nversion = \"v1.0.0\"\n",
			[]string{`:6: module is missing in [[plugins]]: write module = "example.com/plugin"`}},
		"plugin with wrong type": {head + "[[plugins]]\nmodule = \"example.com/b\"\nversion = 1\n" + somePlugin,
			[]string{`:5: version in [[plugins]] must be a string in quotes: write version = "v1.2.3"`}},
		"plugin without version": {head + "[[plugins]]\nmodule = \"example.com/a\"\n",
			[]string{`:3: plugin "example.com/a" has no version`}},
		"version in the module": {head + "[[plugins]]\nmodule = \"example.com/a@v1.0.0\"\nversion = \"v1.0.0\"\n",
			[]string{`:4: module = "example.com/a@v1.0.0" isn't an import path`}},
		"plugin twice": {head + somePlugin + somePlugin,
			[]string{`:7: plugin "example.com/a" is listed twice`}},
		"package below /v2": {head + "[[plugins]]\nmodule = \"example.com/a/v2/caddy\"\nversion = \"v2.1.0\"\n",
			[]string{`:5: xcaddy can't pin "example.com/a/v2/caddy"`}},
		"replacement without new": {head + "[[replacements]]\nold = \"example.com/a\"\n",
			[]string{`:3: new is missing in [[replacements]]`}},
		"replaced version": {
			head + "[[replacements]]\nold = \"example.com/a@v1.0.0\"\nnew = \"example.com/b@v1.0.0\"\n",
			[]string{`:4: old = "example.com/a@v1.0.0" isn't a module path`}},
		"replaced twice": {
			head + "[[replacements]]\nold = \"example.com/a\"\nnew = \"example.com/b@v1.0.0\"\n" +
				"[[replacements]]\nold = \"example.com/a\"\nnew = \"example.com/c@v1.0.0\"\n",
			[]string{`:7: "example.com/a" is replaced twice`}},
		"no such directory": {head + "[[replacements]]\nold = \"example.com/a\"\nnew = \"./a\"\n",
			[]string{`:5: there is no go.mod in `}},
		"bare directory": {head + "[[replacements]]\nold = \"example.com/a\"\nnew = \"fork\"\n",
			[]string{`:5: new = "fork" is neither a directory nor a module: write a directory as "./fork"`}},
		"fork without version": {head + "[[replacements]]\nold = \"example.com/a\"\nnew = \"example.com/fork\"\n",
			[]string{`:5: new = "example.com/fork" is neither`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(writeFile(t, filepath.Join(t.TempDir(), "xcaddy.toml"), test.manifest))
			if err == nil {
				t.Fatal("loading the manifest succeeded, want an error")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(test.want) {
				t.Fatalf("got %d mistakes, want %d:\n%v", len(got), len(test.want), err)
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], "xcaddy.toml") || !strings.Contains(got[i], want) {
					t.Errorf("mistake %d:\n got %s\nwant %s", i, got[i], want)
				}
			}
		})
	}
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestShippedEtcdStore loads the shipped manifest with the lines for the etcd store.
func TestShippedEtcdStore(t *testing.T) {
	text, err := os.ReadFile("../../xcaddy.toml")
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/mollygate/mollygate/etcdstore"
	whole := string(text)
	for _, lines := range []string{"[[plugins]]\nmodule = \"" + module + "\"\n",
		"[[replacements]]\nold = \"" + module + "\"\nnew = \"./etcdstore\"\n"} {
		commented := "# " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n# ") + "\n"
		if !strings.Contains(whole, commented) {
			t.Errorf("xcaddy.toml lacks\n%s", commented)
		}
		whole = strings.Replace(whole, commented, lines, 1)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "go.mod"), "module github.com/mollygate/mollygate\n")
	writeFile(t, filepath.Join(dir, "etcdstore", "go.mod"), "module "+module+"\n")
	m, err := Load(writeFile(t, filepath.Join(dir, "xcaddy.toml"), whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Plugins) != 2 || m.Plugins[1].Module != module || len(m.Replacements) != 2 {
		t.Errorf("got %+v", m)
	}
}
