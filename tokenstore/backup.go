package tokenstore

import "io"

// Backup returns a copy of the store, consistent and with all that has been
// counted, and its length in bytes. The store serves on meanwhile; the caller
// closes the copy.
func (s *Store) Backup() (content io.ReadCloser, length int64, err error) {
	if s.closed.Load() {
		return nil, 0, ErrClosed
	}
	if err := s.Flush(); err != nil {
		return nil, 0, readError(err)
	}
	content, length, err = s.backend.Backup()
	if err != nil {
		return nil, 0, readError(err)
	}
	return content, length, nil
}
