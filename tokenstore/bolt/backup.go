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

// Backup implements tokenstore.Backend. The copy is an unlinked file next to the store or, if
// that fails, in the directory for temporary files. It lets slow clients read without an open
// transaction, during which bbolt can't reuse pages and the store's file only grows.
func (b *Backend) Backup() (content io.ReadCloser, length int64, err error) {
	name := filepath.Base(b.path) + ".backup-*"
	file, err := os.CreateTemp(filepath.Dir(b.path), name)
	if err != nil { // the directory may be read-only
		file, err = os.CreateTemp("", name)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: creating a temporary copy of the store: %w", tokenstore.ErrUnavailable, err)
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
