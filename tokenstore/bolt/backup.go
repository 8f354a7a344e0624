package bolt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// Backup implements tokenstore.Backend. It copies the store to an unlinked file in the store's
// directory or, if that fails, in the temporary directory. Slow clients therefore don't hold a
// transaction open, which would prevent bbolt from reusing pages and make the store's file
// grow.
func (b *Backend) Backup() (content io.ReadCloser, length int64, err error) {
	file, length, err := b.snapshot()
	if err != nil {
		return nil, 0, err
	}
	return file, length, nil
}

// tempFile creates a temporary file for a copy of the store.
func (b *Backend) tempFile() (*os.File, error) {
	name := filepath.Base(b.path) + ".backup-*"
	file, err := os.CreateTemp(filepath.Dir(b.path), name)
	if err != nil { // the directory may be read-only
		file, err = os.CreateTemp("", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: creating a temporary copy of the store: %w", tokenstore.ErrUnavailable, err)
	}
	return file, nil
}

// snapshot copies the store's file to an unlinked file.
func (b *Backend) snapshot() (file *os.File, length int64, err error) {
	if file, err = b.tempFile(); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, 0, err
	}
	err = b.view(func(tx *bbolt.Tx) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		length, err = tx.WriteTo(file)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("copying the token store: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	return file, length, nil
}
