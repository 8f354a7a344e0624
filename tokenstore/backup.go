package tokenstore

import (
	"errors"
	"io"
	"sync"

	"go.uber.org/zap"
)

// maxBackups is the maximum number of open backups. Each one is a full copy of the store,
// which exists until the backup is closed.
const maxBackups = 2

// ErrTooManyBackups is returned by [Store.Backup] while two other backups are open.
var ErrTooManyBackups = errors.New("two backups are already in progress")

// Backup returns a consistent copy of the store and its length in bytes. The copy includes all
// counts that could be saved. The store remains usable while the copy is read. The caller must
// close the copy. At most two copies can be open at a time; a third call returns
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
		s.logger.Warn("the backup is missing counts that could not be saved", zap.Error(err))
	}
	content, length, err = s.backend.Backup()
	if err != nil {
		return nil, 0, readError(err)
	}
	return &backupCopy{content, release}, length, nil
}

// backupCopy is the reader of an open backup. Closing it makes room for another backup.
type backupCopy struct {
	io.ReadCloser
	release func()
}

func (b *backupCopy) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
