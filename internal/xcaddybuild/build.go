package xcaddybuild

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/xcaddy"
)

// Build builds Caddy as described by m and writes the binary to output.
//
// Build doesn't query any module proxy for a replaced plugin, so the plugin doesn't have to
// be published. All other modules come from the module cache or the user's GOPROXY, and are
// verified against the checksum database rather than the project's go.sum, because xcaddy
// builds in a temporary module.
func (m *Manifest) Build(ctx context.Context, output string) error {
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		return fmt.Errorf("the output path %s is a directory: specify a file, such as %s", output,
			filepath.Join(output, "caddy"))
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o777); err != nil {
		return fmt.Errorf("creating the output directory: %w", err)
	}

	proxy, err := os.MkdirTemp("", "xcaddybuild-")
	if err != nil {
		return fmt.Errorf("creating a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(proxy) }()
	builder, err := m.builder(ctx, proxy)
	if err != nil {
		return err
	}
	if err := builder.Build(ctx, output); err != nil {
		return fmt.Errorf("building Caddy: %w; see the output of the go command above", err)
	}
	return nil
}

// builder returns the xcaddy builder for m. It writes a module proxy to the empty directory
// proxy and adds this proxy in front of the user's GOPROXY.
func (m *Manifest) builder(ctx context.Context, proxy string) (xcaddy.Builder, error) {
	if err := writeProxy(proxy, m.hiddenModules()); err != nil {
		return xcaddy.Builder{}, fmt.Errorf("writing the proxy for replaced modules: %w", err)
	}
	users, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return xcaddy.Builder{}, fmt.Errorf("running go env GOPROXY: %w; is Go installed?", err)
	}
	fileURL := url.URL{Scheme: "file", Path: filepath.ToSlash(proxy)}

	b := xcaddy.Builder{
		CaddyVersion: m.CaddyVersion,
		Env: append(os.Environ(),
			"GOPROXY="+fileURL.String()+","+strings.TrimSpace(string(users)),
			"GOWORK=off", // xcaddy builds outside any workspace
		),
	}
	for _, p := range m.Plugins {
		version := p.Version
		if m.replaced(p.Module) {
			version = "" // otherwise the go command would look up the version
		}
		b.Plugins = append(b.Plugins, xcaddy.Dependency{PackagePath: p.Module, Version: version})
	}
	for _, r := range m.Replacements {
		b.Replacements = append(b.Replacements, xcaddy.NewReplace(r.Old, r.New))
	}
	return b, nil
}

// hiddenModules returns the module paths to hide from the user's proxies. These are the
// paths that the go command tries for a replaced plugin: the plugin's import path and all
// parents of that path. The result excludes parents that other plugins' modules may use,
// and the host name, which every lookup tries.
func (m *Manifest) hiddenModules() []string {
	var paths []string
	for _, p := range m.Plugins {
		if !m.replaced(p.Module) {
			continue
		}
		for parent := p.Module; strings.Contains(parent, "/"); parent = path.Dir(parent) {
			needed := slices.ContainsFunc(m.Plugins, func(other Plugin) bool {
				return !m.replaced(other.Module) && isWithin(other.Module, parent)
			})
			if !needed && !slices.Contains(paths, parent) {
				paths = append(paths, parent)
			}
		}
	}
	return paths
}

// writeProxy writes to dir a module proxy that lists no versions for the given modules.
//
// For a replaced module, this proxy makes the go command use the replacement; for any other
// module, it makes the go command conclude that the module doesn't contain the package.
// Either way, the go command queries no other proxy. Without this proxy, it would query
// them all, and the build would fail if one of them responded to an unpublished module with
// 403 instead of 404.
func writeProxy(dir string, modules []string) error {
	for _, module := range modules {
		versions := filepath.Join(dir, filepath.FromSlash(escapePath(module)), "@v")
		if err := os.MkdirAll(versions, 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(versions, "list"), nil, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// escapePath escapes a module path for a module proxy: each capital letter becomes "!"
// followed by the lower-case letter.
func escapePath(module string) string {
	var b strings.Builder
	for _, r := range module {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
