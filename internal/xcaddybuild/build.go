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

// Build builds the Caddy that m describes and writes it to the file output.
//
// A plugin that a replacement covers is built without asking any module proxy
// for it, so it need not be published. All other modules come from the module
// cache or from the user's GOPROXY, and are checked against the checksum
// database as usual: xcaddy works in a module of its own and does not see the
// go.sum of the project the manifest lies in.
func (m *Manifest) Build(ctx context.Context, output string) error {
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		return fmt.Errorf("the output %s is a directory: name the file to write, such as %s", output,
			filepath.Join(output, "caddy"))
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o777); err != nil {
		return fmt.Errorf("making the output's directory: %w", err)
	}

	proxy, err := os.MkdirTemp("", "xcaddybuild-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(proxy) }()
	builder, err := m.builder(ctx, proxy)
	if err != nil {
		return err
	}
	if err := builder.Build(ctx, output); err != nil {
		return fmt.Errorf("building Caddy: %w; the output of the go command above says why", err)
	}
	return nil
}

// builder returns the xcaddy builder for m. It fills the empty directory proxy
// with a module proxy that comes before the user's own.
func (m *Manifest) builder(ctx context.Context, proxy string) (xcaddy.Builder, error) {
	if err := writeProxy(proxy, m.unasked()); err != nil {
		return xcaddy.Builder{}, fmt.Errorf("writing the proxy for replaced modules: %w", err)
	}
	users, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return xcaddy.Builder{}, fmt.Errorf("asking go for GOPROXY: %w; is Go installed?", err)
	}
	fileURL := url.URL{Scheme: "file", Path: filepath.ToSlash(proxy)}

	b := xcaddy.Builder{
		CaddyVersion: m.CaddyVersion,
		Env: append(os.Environ(),
			"GOPROXY="+fileURL.String()+","+strings.TrimSpace(string(users)),
			"GOWORK=off", // xcaddy builds outside of any workspace
		),
	}
	for _, p := range m.Plugins {
		version := p.Version
		if m.replaced(p.Module) {
			version = "" // a version would be looked up
		}
		b.Plugins = append(b.Plugins, xcaddy.Dependency{PackagePath: p.Module, Version: version})
	}
	for _, r := range m.Replacements {
		b.Replacements = append(b.Replacements, xcaddy.NewReplace(r.Old, r.New))
	}
	return b, nil
}

// unasked lists the module paths that no proxy is to be asked for: those that
// the go command tries for a replaced plugin, which are its import path and
// all parents of that. A parent that may be a module of another plugin is left
// out, and so is the host, which every lookup tries.
func (m *Manifest) unasked() []string {
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

// writeProxy makes dir a module proxy that knows the modules and says that
// they have no versions.
//
// For a replaced module the go command then takes the replacement, for any
// other it settles that the module holds no package it looks for; either way
// it asks no further proxy. Without this it asks them all, and one that
// answers 403 rather than 404 for an unpublished module ends the build.
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

// escapePath writes a module path as module proxies do, capitals as "!" and
// the small letter.
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
