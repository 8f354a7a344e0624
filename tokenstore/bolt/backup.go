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

// Backup implements tokenstore.Backend. The copy lies beside the store, without a
// name: while a transaction is open the store's file only grows, so nobody reads
// it at a client's pace.
func (b *Backend) Backup() (content io.ReadCloser, length int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".backup-*")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: a copy needs room beside the store: %w", tokenstore.ErrUnavailable, err)
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
