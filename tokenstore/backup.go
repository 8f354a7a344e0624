package tokenstore

import (
	"errors"
	"io"
	"sync"
	"time"

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
	return &backupCopy{content: content, left: length, store: s, begun: s.Now(), release: release}, length, nil
}

// LastBackup returns when the last backup that was read to its end began, or the zero time if
// there is none. The error is [ErrUnavailable].
func (s *Store) LastBackup() (time.Time, error) {
	state, err := s.backend.State()
	if err != nil {
		return time.Time{}, readError(err)
	}
	return state.BackedUp, nil
}

// backupCopy is the reader of an open backup. Closing it makes room for another backup.
type backupCopy struct {
	content io.ReadCloser
	left    int64
	store   *Store
	begun   time.Time
	release func()
}

func (b *backupCopy) Read(p []byte) (int, error) {
	n, err := b.content.Read(p)
	b.left -= int64(n)
	return n, err
}

// Close records the time of the backup if it was read to its end.
func (b *backupCopy) Close() error {
	defer b.release()
	err := b.content.Close()
	if err == nil && b.left == 0 {
		if err := b.store.setTimes(State{BackedUp: b.begun}, nil); err != nil {
			b.store.logger.Warn("recording the time of the backup failed", zap.Error(err))
		}
	}
	return err
}
