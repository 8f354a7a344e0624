package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// create creates a new file. The file appears at path only once it is complete and on disk:
// bbolt would treat an incomplete file as damaged, and an empty one as a new database
// (etcd#16596).
func (f format) create(path string) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("creating the directory of token store %s: %w", path, err)
	}
	if err := f.createIn(dir, path); err != nil {
		return fmt.Errorf("creating token store %s: %w", path, err)
	}
	return nil
}

func (f format) createIn(dir, path string) error {
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
	if err := errors.Join(db.Update(f.createSchema), db.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link never replaces a store that another process has just created.
	err = os.Link(draft.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		err = os.Rename(draft.Name(), path) // the file system has no hard links
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// makeDir creates a directory and any missing parents, and syncs each of them. Otherwise a
// power cut could remove the directory, and the next start would create an empty store.
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
