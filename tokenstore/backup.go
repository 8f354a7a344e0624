package tokenstore

import (
	"errors"
	"io"
	"sync"

	"go.uber.org/zap"
)

// maxBackups is how many backups may be open at a time. Each is a copy of the whole
// store, kept until its reader has taken all of it.
const maxBackups = 2

// ErrTooManyBackups is returned by [Store.Backup] while two others are open.
var ErrTooManyBackups = errors.New("two backups are being taken already")

// Backup returns a copy of the store, consistent and with all that has been
// counted and can be saved, and its length in bytes. The store serves on meanwhile; the caller
// closes the copy. At most two copies are open at a time; a third is
// [ErrTooManyBackups].
func (s *Store) Backup() (content io.ReadCloser, length int64, err error) {
	if s.closed.Load() {
		return nil, 0, ErrClosed
	}
	if s.backups.Add(1) > maxBackups {
		s.backups.Add(-1)
		return nil, 0, ErrTooManyBackups
	}
	release := sync.OnceFunc(func() { s.backups.Add(-1) })
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := s.Flush(); err != nil {
		s.logger.Warn("the backup lacks the counts that could not be saved", zap.Error(err))
	}
	content, length, err = s.backend.Backup()
	if err != nil {
		return nil, 0, readError(err)
	}
	return &backupCopy{content, release}, length, nil
}

// backupCopy makes room for another backup when it is closed.
type backupCopy struct {
	io.ReadCloser
	release func()
}

func (b *backupCopy) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
