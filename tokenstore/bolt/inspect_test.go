package bolt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// TestRefusedFiles verifies that Inspect and Open return a specific error for any file that
// isn't a store of this version, and don't change the file.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	write := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	random := make([]byte, 1<<16)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	database := func(pageSize int, fill func(*bbolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			makeStore(t, path, pageSize, fill)
		}
	}
	ours := func(then func(*bbolt.Tx) error) func(*testing.T, string) {
		return database(0, func(tx *bbolt.Tx) error { return errors.Join(storeFormat.createSchema(tx), then(tx)) })
	}
	bucket := func(names ...string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			for _, name := range names {
				b, err := tx.CreateBucket([]byte(name))
				if err != nil {
					return err
				}
				if err := b.Put([]byte("key"), make([]byte, 3000)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprint("bucket ", i))
	}
	version := func(v []byte) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, v) }
	}
	const foreign, notBolt = "another program's bbolt database", "not a token store"
	for name, c := range map[string]struct {
		create func(*testing.T, string)
		want   string
	}{
		"empty":            {write(""), "is empty"},
		"one byte":         {write("x"), notBolt},
		"text":             {write(strings.Repeat("tokens\n", 5000)), notBolt},
		"zeros":            {write(strings.Repeat("\x00", 1<<16)), notBolt},
		"random":           {write(string(random)), notBolt},
		"another database": {write("SQLite format 3\x00" + strings.Repeat("\x00", 1<<15)), notBolt},
		"directory":        {func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o700)) }, "is a directory"},
		"link to a device": {func(t *testing.T, path string) { check(t, os.Symlink(os.DevNull, path)) },
			"not a regular file"},
		"link to itself":    {func(t *testing.T, path string) { check(t, os.Symlink(path, path)) }, "token store"},
		"empty bbolt":       {database(0, func(*bbolt.Tx) error { return nil }), foreign},
		"foreign":           {database(0, bucket("acme", "nonces")), foreign},
		"foreign, 16 KiB":   {database(1<<14, bucket("acme", "nonces")), foreign},
		"foreign, large":    {database(0, bucket(many...)), foreign},
		"foreign, meta too": {database(0, bucket("meta", "tokens")), foreign},
		"newer version": {ours(version([]byte{0, 0, 0, 2})),
			"schema version 2, but this Mollygate supports version 1"},
		"version 0":         {ours(version([]byte{0, 0, 0, 0})), "schema version 0"},
		"highest version":   {ours(version([]byte{255, 255, 255, 255})), "an unknown schema version"},
		"damaged meta page": {damagedMeta, "the file is damaged: one of its two meta pages is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			c.create(t, path)
			before := files(t, filepath.Dir(path))
			for verb, f := range map[string]func(string) error{
				"Inspect": Inspect,
				"Open": func(path string) error {
					b, err := Open(path)
					if err == nil {
						_ = b.Close()
					}
					return err
				},
			} {
				err := f(path)
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.want) ||
					!strings.Contains(err.Error(), path) {
					t.Errorf("%s: got err %v, want %q", verb, err, c.want)
				}
			}
			if !maps.Equal(before, files(t, filepath.Dir(path))) {
				t.Error("the file was changed or another file was created")
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// damagedMeta creates a store with a wrong transaction number in its first meta page.
func damagedMeta(t *testing.T, path string) {
	t.Helper()
	makeStore(t, path, 0, storeFormat.createSchema)
	raw, err := os.ReadFile(path)
	check(t, err)
	raw[16+48] ^= 0x10
	check(t, os.WriteFile(path, raw, 0o600))
}

// TestMissing verifies that Inspect reports whether a missing store can be created.
func TestMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for path, possible := range map[string]bool{
		"tokens.db": true, "a/b/c/tokens.db": true, "file/tokens.db": false, "file/a/tokens.db": false,
	} {
		path = filepath.Join(dir, path)
		err := Inspect(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) != possible {
			t.Errorf("%s: got err %v", path, err)
		}
		if !possible {
			if _, err := Open(path); err == nil {
				t.Errorf("%s was created", path)
			}
		}
	}
}

// TestTruncated truncates a store to sizes that would make bbolt crash the process.
func TestTruncated(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	for range 300 {
		makeToken(t, s)
	}
	used := b.current.Load().size.Load()
	check(t, s.Close())
	whole, err := os.ReadFile(path)
	check(t, err)
	if used <= 65536 || int64(len(whole)) < used {
		t.Fatalf("only %d of %d bytes are in use", used, len(whole))
	}
	for _, size := range []int64{
		0, 1, 79, 80, 100, 4095, 4096, 4096 + 79, 4096 + 80, 8191, 8192, 8193, 12288, 16384, 65536, used / 2,
		used - 4096, used - 1,
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			check(t, os.WriteFile(path, whole[:size], 0o600))
			before := files(t, filepath.Dir(path))
			want := fmt.Sprintf("it has %d bytes, but should have %d pages of 4096 bytes; "+
				"run caddy api-token repair, or restore a backup", size, used/4096)
			switch {
			case size == 0:
				want = "is empty: restore a backup"
			case size < 80:
				want = "restore a backup"
			}
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got err %v, want %q", err, want)
			}
			if !maps.Equal(before, files(t, filepath.Dir(path))) {
				t.Error("the file was changed or another file was created")
			}
		})
	}
	t.Run("unused part", func(t *testing.T) {
		t.Parallel()
		path := newPath(t)
		check(t, os.WriteFile(path, whole[:used], 0o600))
		mustOpen(t, path)
	})
}

// TestInspectDuringCommits inspects a file while it is being written continuously.
func TestInspectDuringCommits(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			makeToken(t, s)
		}
	}()
	for {
		if err := Inspect(path); err != nil {
			t.Errorf("Inspect: %v", err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
