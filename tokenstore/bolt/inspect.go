package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Inspect checks that path is a readable and writable regular file that contains a complete
// token store. It doesn't lock, change or create the file, which another process may be using.
// If the file doesn't exist but can be created, the error wraps [fs.ErrNotExist].
func Inspect(path string) error { return storeFormat.inspect(path) }

func (f format) inspect(path string) error {
	file, err := f.open(path)
	if err != nil {
		return err
	}
	_ = file.Close()
	if f == storeFormat {
		_, err = readCounters(path)
	}
	return err
}

// open inspects and opens the file at path. unknownFormat accepts files of all formats.
func (f format) open(path string) (*os.File, error) {
	if err := f.inspectPath(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("token store: %w: grant read and write access to the user that Caddy runs as", err)
	}
	if err != nil {
		return nil, fmt.Errorf("token store: %w", err)
	}
	if err := f.inspectContent(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("token store %s: %w", path, err)
	}
	return file, nil
}

// inspectContent returns an error if the file isn't a token store that can be opened. Another
// process may be writing to the file.
func (f format) inspectContent(file *os.File) error {
	content, err := boltfile.ReadShared(file)
	if err != nil {
		return fileError(err)
	}
	return f.inspectSchema(content)
}

// inspectSchema is checkSchema for a file that bbolt hasn't opened.
func (f format) inspectSchema(content *boltfile.File) error {
	found := formatOf(content)
	if f == unknownFormat {
		f = found
	}
	damaged := content.Err() != nil || f.damaged(content)
	switch {
	case damaged && (found == f || found == unknownFormat):
		return nil // Open will rebuild it
	case damaged && found == replicaFormat:
		return errReplica
	case damaged && f == replicaFormat:
		return errNotReplica
	}
	return f.check(content.Get(metaBucket, formatKey), content.Get(metaBucket, versionKey))
}

// errNotStore means that a file isn't a bbolt file.
var errNotStore = errors.New("the file is not a token store: name another file, " +
	"which Caddy creates if it doesn't exist, or restore a backup if it was a store")

// fileError adds advice to an error from package boltfile.
func fileError(err error) error {
	switch {
	case errors.Is(err, boltfile.ErrEmpty):
		return errors.New("the file is empty: restore a backup, or remove the file to start with an empty store")
	case errors.Is(err, boltfile.ErrNotBolt):
		return errNotStore
	case errors.Is(err, boltfile.ErrDamaged):
		return fmt.Errorf("the file is %w; run caddy api-token repair, or restore a backup", err)
	}
	return err
}

// inspectPath checks the file at path before it is opened, because opening a FIFO would wait
// for a writer.
func (f format) inspectPath(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.inspectMissing(path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("token store: %w: give the user that Caddy runs as access to the directory", err)
	case err != nil:
		return fmt.Errorf("token store: %w", err)
	case info.IsDir():
		return fmt.Errorf("token store %s is a directory: name a file in it, for example %s", path,
			filepath.Join(path, "tokens.db"))
	case !info.Mode().IsRegular():
		return fmt.Errorf("token store %s is not a regular file: name another file", path)
	}
	return nil
}

// inspectMissing returns an error that explains why a missing file can't be created. If it can
// be created, the error wraps missing.
func (f format) inspectMissing(path string, missing error) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf(
			"token store %s is a link to a file that doesn't exist: restore that file, or remove the link", path)
	} else if err == nil {
		return f.inspectPath(path) // it has just been created
	}
	if err := inspectDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("token store %s can't be created: %w", path, err)
	}
	if journal := journalPath(path); exists(journal) {
		if exists(path) {
			return f.inspectPath(path) // both have just been created
		}
		if f == replicaFormat {
			return fmt.Errorf(
				"replica %s is missing, but its usage journal %s exists: put the replica back, "+
					"or remove the journal to copy the shared store again without the counts in the journal",
				path, journal)
		}
		return fmt.Errorf(
			"token store %s is missing, but its usage journal %s exists: put the store back, "+
				"restore a backup with caddy api-token restore, or remove the journal to start with an empty store",
			path, journal)
	}
	return fmt.Errorf("token store: %w", missing)
}

// inspectDir returns an error if a file can't be created in dir.
func inspectDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
		return inspectDir(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return writableDir(dir)
}

// damaged reports whether a file has the format's buckets but lacks the format name.
func (f format) damaged(content *boltfile.File) bool {
	err := f.check(content.Get(metaBucket, formatKey), content.Get(metaBucket, versionKey))
	return errors.Is(err, errForeign) && len(f.missingBuckets(content)) <= 2
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
