package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// TestImage writes an image twice and reads it back. The program itself validates digests,
// sizes and configurations.
func TestImage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := t.TempDir()
	for name, text := range map[string]string{"amd64": "binary for amd64", "arm64": "binary for arm64",
		"licenses": "MIT"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var archives [2][]byte
	for i := range archives {
		output := filepath.Join(dir, "image.tar")
		if err := run(release{version: "v1.0.0+dirty", revision: "abc"}, output, []string{
			"linux/amd64=" + filepath.Join(dir, "amd64") + "=" + filepath.Join(dir, "licenses"),
			"linux/arm64=" + filepath.Join(dir, "arm64") + "=" + filepath.Join(dir, "licenses"),
		}); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = content
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same files differ")
	}

	path := unpack(t, archives[0])
	outer, err := layout.ImageIndexFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[0].Annotations["io.containerd.image.name"]; got != "localhost/mollygate:1.0.0-dirty" {
		t.Errorf("got name %q", got)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err = index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, m.Platform.Architecture)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("got platforms %q, want %q", platforms, want)
	}
}

func checkImage(t *testing.T, img v1.Image, architecture string) {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Architecture != architecture || file.Config.User != "65532:65532" || file.Config.Healthcheck == nil {
		t.Errorf("got architecture %s, user %s, health check %v", file.Architecture, file.Config.User,
			file.Config.Healthcheck)
	}
	if got := file.Config.Labels["org.opencontainers.image.created"]; got != "2023-11-14T22:13:20Z" {
		t.Errorf("got creation time %q", got)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers, want 1: %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch text, err := io.ReadAll(r); {
		case err != nil:
			t.Fatal(err)
		case header.Name == "data/" && (header.Mode != 0o700 || header.Uid != user):
			t.Errorf("/data has mode %o and owner %d", header.Mode, header.Uid)
		case header.Name != "data/" && header.Uid != 0:
			t.Errorf("%s has owner %d", header.Name, header.Uid)
		case header.Name == "usr/bin/mollygate" && string(text) != "binary for "+architecture:
			t.Errorf("the image for %s has the %s", architecture, text)
		}
	}
}

// unpack unpacks an archive to a directory and returns its path.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		} else if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	r := release{version: "v1", revision: "abc"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "name a platform"},
		{[]string{"linux/amd64=binary"}, "write <platform>=<binary>=<licenses>"},
		{[]string{"linux/amd64=missing=missing"}, "no such file"},
	} {
		if err := run(r, filepath.Join(t.TempDir(), "x.tar"), test.args); err == nil ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got error %v, want one with %q", test.args, err, test.want)
		}
	}
}
