package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Inspect looks at the file without locking, changing or making it: is it a
// regular file that may be read and written, whole, and ours? It may be used by
// another process meanwhile. A missing file is fs.ErrNotExist and no fault: it
// would be made; whether that is possible is looked at too.
func Inspect(path string) error {
	file, err := openInspected(path)
	if err != nil {
		return err
	}
	_ = file.Close()
	_, err = readCounters(path)
	return err
}

// openInspected returns the open file if nothing is wrong with it.
func openInspected(path string) (*os.File, error) {
	if err := inspectPath(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("token store: %w: give the user that Caddy runs as the right to read and write it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("token store: %w", err)
	}
	if err := inspectContent(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("token store %s: %w", path, err)
	}
	return file, nil
}

// inspectContent returns an error if the file isn't a sound store of ours. Another
// process may be writing to it.
func inspectContent(file *os.File) error {
	content, err := boltfile.ReadShared(file)
	if err != nil {
		return fileError(err)
	}
	return inspectSchema(content)
}

// inspectSchema is checkSchema of a file that isn't open. The meta bucket is small,
// so that bbolt keeps it where it can be read.
func inspectSchema(content *boltfile.File) error {
	if content.Err() != nil || formatDamaged(content) {
		return nil // a damaged file, which is rebuilt when it is opened
	}
	return checkFormat(content.Get(metaBucket, formatKey), content.Get(metaBucket, versionKey))
}

// fileError turns an error of boltfile into one that says what to do.
func fileError(err error) error {
	switch {
	case errors.Is(err, boltfile.ErrEmpty):
		return errors.New("the file is empty: restore a backup, or remove the file to begin with an empty store")
	case errors.Is(err, boltfile.ErrNotBolt):
		return errors.New(
			"the file is not a token store: name another file (one that doesn't exist yet is made), or restore a backup if it was a store")
	case errors.Is(err, boltfile.ErrDamaged):
		return fmt.Errorf("the file is %w; run caddy api-token repair, or restore a backup", err)
	}
	return err
}

// inspectPath looks at what is at the path before it is opened: opening a FIFO
// would wait for a writer.
func inspectPath(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return inspectMissing(path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("token store: %w: give the user that Caddy runs as the right to use the directory", err)
	case err != nil:
		return fmt.Errorf("token store: %w", err)
	case info.IsDir():
		return fmt.Errorf("token store %s is a directory: name a file in it, for example %s", path,
			filepath.Join(path, "tokens.db"))
	case !info.Mode().IsRegular():
		return fmt.Errorf("token store %s is not a regular file: name another", path)
	}
	return nil
}

// inspectMissing says what hinders a missing file from being made, or returns
// that it is missing.
func inspectMissing(path string, missing error) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf(
			"token store %s is a link to a file that doesn't exist: restore that file, or remove the link", path)
	} else if err == nil {
		return inspectPath(path) // it has just been made
	}
	if err := inspectDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("token store %s can't be made: %w", path, err)
	}
	if journal := journalPath(path); exists(journal) {
		if exists(path) {
			return inspectPath(path) // it has just been made, and then its journal
		}
		return fmt.Errorf(
			"token store %s is missing, but its usage journal %s is there: put the store back, restore a backup with caddy api-token restore, or remove the journal to begin with an empty store", path, journal)
	}
	return fmt.Errorf("token store: %w", missing)
}

// inspectDir says what hinders a file from being made in dir.
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

// formatDamaged reports whether a file has no word of what it is, but the buckets of a
// store.
func formatDamaged(content *boltfile.File) bool {
	err := checkFormat(content.Get(metaBucket, formatKey), content.Get(metaBucket, versionKey))
	return errors.Is(err, errForeign) && len(missingBuckets(content)) <= 2
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
