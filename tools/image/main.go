// Command image writes a container image as a tar archive in the OCI image layout:
//
//	image -version v1.0.0 -revision <commit> -output <file> <platform>=<binary>=<licenses>...
//
// The image contains only the binary, its licenses and the directories and users that it
// needs. SOURCE_DATE_EPOCH is the date of everything in the image, so that equal inputs
// result in equal archives.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const (
	// user is the ID that distroless images use for their user without privileges.
	user   = 65532
	config = "/etc/mollygate/Caddyfile"
)

// release is what all platforms of an image have in common.
type release struct {
	version, revision string
	created           time.Time
}

// variant is the part of an image for one platform.
type variant struct {
	platform         *v1.Platform
	binary, licenses string // files
}

func main() {
	var r release
	output := flag.String("output", "", "tar archive to write")
	flag.StringVar(&r.version, "version", "", "version of the release, such as v1.0.0")
	flag.StringVar(&r.revision, "revision", "", "commit of the release")
	flag.Parse()
	if err := run(r, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(r release, output string, args []string) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w; set it to the commit's Unix time", err)
	}
	r.created = time.Unix(seconds, 0).UTC()
	if r.version == "" || r.revision == "" || output == "" || len(args) == 0 {
		return errors.New("set -version, -revision and -output, and name a platform and its files")
	}
	var variants []variant
	for _, arg := range args {
		parts := strings.Split(arg, "=")
		if len(parts) != 3 {
			return fmt.Errorf("invalid argument %q: write <platform>=<binary>=<licenses>", arg)
		}
		platform, err := v1.ParsePlatform(parts[0])
		if err != nil {
			return err
		}
		variants = append(variants, variant{platform, parts[1], parts[2]})
	}
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := r.write(dir, variants); err != nil {
		return err
	}
	return r.archive(dir, output)
}

// write writes an image layout to dir and checks it.
func (r release) write(dir string, variants []variant) error {
	var manifests []mutate.IndexAddendum
	for _, v := range variants {
		img, err := r.image(v)
		if err != nil {
			return err
		}
		manifests = append(manifests, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: v.platform}})
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), manifests...)
	index, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return errors.New("adding annotations changed the type of the index")
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// Docker, containerd and Podman take the image's name from these annotations. The host
	// "localhost" keeps them from looking for the name in a registry.
	tag := regexp.MustCompile(`[^\w.-]`).ReplaceAllString(strings.TrimPrefix(r.version, "v"), "-")
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          "localhost/mollygate:" + tag,
		"org.opencontainers.image.ref.name": tag,
	})); err != nil {
		return err
	}
	written, err := path.ImageIndex()
	if err != nil {
		return err
	}
	return validate.Index(written)
}

// labels returns the image's labels and annotations.
func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         "Mollygate",
		"org.opencontainers.image.description":   "API keys for Mollymawk, as a build of the Caddy web server",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.source":        "https://github.com/mollygate/mollygate",
		"org.opencontainers.image.documentation": "https://github.com/mollygate/mollygate/blob/main/docs/operator.md",
		"org.opencontainers.image.version":       r.version,
		"org.opencontainers.image.revision":      r.revision,
		"org.opencontainers.image.created":       r.created.Format(time.RFC3339),
	}
}

// image returns the image for one platform.
func (r release) image(v variant) (v1.Image, error) {
	content, err := r.files(v)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: r.created}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS:           v.platform.OS,
		Architecture: v.platform.Architecture,
		Variant:      v.platform.Variant,
		Created:      created,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:         strconv.Itoa(user) + ":" + strconv.Itoa(user),
			Entrypoint:   []string{"/usr/bin/mollygate"},
			Cmd:          []string{"run", "--config", config, "--adapter", "caddyfile"},
			WorkingDir:   filepath.Dir(config), // where commands look for a Caddyfile
			Env:          []string{"PATH=/usr/bin", "HOME=/data", "XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/data"},
			Volumes:      map[string]struct{}{"/data": {}},
			ExposedPorts: map[string]struct{}{"80/tcp": {}, "443/tcp": {}, "443/udp": {}},
			// Docker reads this field, which the OCI specification doesn't have.
			Healthcheck: &v1.HealthConfig{
				Test: []string{"CMD", "/usr/bin/mollygate", "api-token", "list", "--limit", "1", "--output", "id",
					"--config", config},
				Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: time.Minute, Retries: 3,
			},
			Labels: r.labels(),
		},
	})
	if err != nil {
		return nil, err
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer,
		History: v1.History{Created: created, CreatedBy: "scripts/release"}})
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(img, r.labels()).(v1.Image)
	if !ok {
		return nil, errors.New("adding annotations changed the type of the image")
	}
	return annotated, nil
}

// files returns the image's only layer as a tar archive.
func (r release) files(v variant) ([]byte, error) {
	binary, err := os.ReadFile(v.binary)
	if err != nil {
		return nil, err
	}
	licenses, err := os.ReadFile(v.licenses)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, f := range []struct {
		name    string // a directory if it ends in a slash
		mode    int64
		owner   int
		content string
	}{
		{"data/", 0o700, user, ""},
		{"etc/", 0o755, 0, ""},
		{"etc/group", 0o644, 0, fmt.Sprintf("root:x:0:\nmollygate:x:%d:\n", user)},
		{"etc/mollygate/", 0o755, 0, ""},
		{"etc/passwd", 0o644, 0, fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\n"+
			"mollygate:x:%d:%d:Mollygate:/data:/sbin/nologin\n", user, user)},
		{"tmp/", 0o1777, 0, ""},
		{"usr/", 0o755, 0, ""},
		{"usr/bin/", 0o755, 0, ""},
		{"usr/bin/mollygate", 0o755, 0, string(binary)},
		{"usr/share/", 0o755, 0, ""},
		{"usr/share/doc/", 0o755, 0, ""},
		{"usr/share/doc/mollygate/", 0o755, 0, ""},
		{"usr/share/doc/mollygate/third-party-licenses.gz", 0o644, 0, string(licenses)},
	} {
		header := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.content)),
			ModTime: r.created, Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return layer.Bytes(), err
}

// archive writes all files in dir to a tar archive.
func (r release) archive(dir, output string) (err error) {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	files := os.DirFS(dir)
	// WalkDir visits files in lexical order.
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)),
			ModTime: r.created, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	return errors.Join(err, w.Close())
}
