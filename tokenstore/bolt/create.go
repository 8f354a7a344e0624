package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// create makes a new store. The file appears under its name only when it is whole
// and on disk: bbolt would take a half-made one for damaged, and an empty one for
// a new database (etcd#16596).
func create(path string) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("making the directory of token store %s: %w", path, err)
	}
	if err := createIn(dir, path); err != nil {
		return fmt.Errorf("making token store %s: %w", path, err)
	}
	return nil
}

func createIn(dir, path string) error {
	draft, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	if err := draft.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(draft.Name(), fileMode, boltOptions())
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(makeSchema), db.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces a store that another process has
	// made in the meantime.
	err = os.Link(draft.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		err = os.Rename(draft.Name(), path) // a file system without links
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// makeDir makes a directory and what is missing above it, each on disk when it
// returns: a store whose directory is gone after a power cut would be made anew.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}
