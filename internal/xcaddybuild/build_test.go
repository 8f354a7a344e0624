package xcaddybuild

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestBuildShippedManifest checks that the shipped manifest builds Caddy with the gate even
// if the module proxy refuses this module. The test takes seconds, or minutes with an empty
// build cache.
func TestBuildShippedManifest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds all of Caddy")
	}
	refused := refuseModule(t, "github.com/mollygate")
	m, err := Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "bin", "caddy")
	if err := m.Build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	for _, path := range refused() {
		t.Errorf("unexpected request to the module proxy: %s", path)
	}

	list, err := exec.CommandContext(t.Context(), binary, "list-modules", "--skip-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(list))
	for _, want := range []string{
		"api_tokens",
		"http.handlers.bearer_auth",
		"http.handlers.api_tokens_admin",
		"admin.api.api_tokens",
		"api_tokens.stores.bbolt",
	} {
		if !slices.Contains(modules, want) {
			t.Errorf("the built Caddy doesn't contain module %s; it contains:\n%s", want, list)
		}
	}
}

// TestReplacedPluginsAreNotLookedUp checks that the go command doesn't look up a replaced
// module or a package in one, whether or not the manifest specifies a version. The test
// only resolves modules; it doesn't build.
func TestReplacedPluginsAreNotLookedUp(t *testing.T) {
	if testing.Short() {
		t.Skip("may download the modules of Caddy")
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "go.mod"), "module unpublished.example/Team/gate\n\ngo 1.26\n")
	writeFile(t, filepath.Join(dir, "gate.go"), "package gate\n")
	writeFile(t, filepath.Join(dir, "caddy", "module", "module.go"), "package module\n")
	shippedManifest, err := Load(shipped)
	if err != nil {
		t.Fatal(err)
	}

	for name, plugin := range map[string]Plugin{
		"module":        {Module: "unpublished.example/Team/gate"},
		"with version":  {Module: "unpublished.example/Team/gate", Version: "v1.2.3"},
		"package below": {Module: "unpublished.example/Team/gate/caddy/module"},
	} {
		t.Run(name, func(t *testing.T) {
			refused := refuseModule(t, "unpublished.example/!team")
			m := Manifest{
				CaddyVersion: shippedManifest.CaddyVersion,
				Plugins:      []Plugin{plugin},
				Replacements: []Replacement{{Old: "unpublished.example/Team/gate", New: dir}},
			}
			builder, err := m.builder(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			builder.SkipBuild = true
			if err := builder.Build(t.Context(), filepath.Join(t.TempDir(), "caddy")); err != nil {
				t.Fatal(err)
			}
			for _, path := range refused() {
				t.Errorf("unexpected request to the module proxy: %s", path)
			}
		})
	}
}

func TestHiddenModules(t *testing.T) {
	m := Manifest{
		Plugins: []Plugin{
			{Module: "example.com/team/repo/gate/caddy"},
			{Module: "example.com/team/repo/other", Version: "latest"},
		},
		Replacements: []Replacement{{Old: "example.com/team/repo/gate", New: "/src/gate"}},
	}
	want := []string{"example.com/team/repo/gate/caddy", "example.com/team/repo/gate"}
	if got := m.hiddenModules(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// refuseModule adds a module proxy in front of the user's own. The proxy responds with 403
// for all paths below prefix and with 404 for most others. It responds with an empty list
// when asked for a module's versions, because the go command sends hundreds of these
// requests just to warn about retracted versions. The returned function returns the refused
// requests.
func refuseModule(t *testing.T, prefix string) (refusedRequests func() []string) {
	t.Helper()
	users, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var refused []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/"+prefix+"/"):
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, r.URL.Path)
			http.Error(w, "refused", http.StatusForbidden)
		case strings.HasSuffix(r.URL.Path, "/@v/list"):
			// An empty list.
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("GOPROXY", server.URL+","+strings.TrimSpace(string(users)))
	t.Setenv("GONOPROXY", "none") // use the proxy even for modules in GOPRIVATE
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(refused)
	}
}
