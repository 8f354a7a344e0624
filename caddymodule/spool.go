package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/mollygate/mollygate/gate"
)

// spool is an upload on disk until it is whole. Its file has no name, so that nothing is
// left of it, whatever happens; on systems where a file in use can't be removed, it is
// removed by close, or when the next gate starts.
type spool struct {
	file *os.File
	dir  string
	// named says that the file still has its name.
	named bool
}

// spoolPattern is the name of a spool's file for os.CreateTemp, and spoolName matches
// such names.
const spoolPattern = "mollygate-upload-*"

var spoolName = regexp.MustCompile(`^mollygate-upload-[0-9]+$`)

// newSpool returns an empty spool in a directory. Its errors are *spoolError.
func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, spoolPattern) // with mode 0600
	if err != nil {
		return nil, &spoolError{dir, err}
	}
	err = os.Remove(file.Name())
	return &spool{file: file, dir: dir, named: err != nil && !errors.Is(err, fs.ErrNotExist)}, nil
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	if err != nil {
		err = &spoolError{s.dir, err}
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.file.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &spoolError{s.dir, err}
	}
	return n, err
}

// close removes the spool. A nil spool is none.
func (s *spool) close() {
	if s == nil {
		return
	}
	_ = s.file.Close() // nothing in it is needed any more
	if s.named {
		_ = os.Remove(s.file.Name())
	}
}

// spoolError is a fault of the directory for uploads.
type spoolError struct {
	dir   string
	cause error
}

// Error implements error.
func (e *spoolError) Error() string {
	return fmt.Sprintf("keeping an upload in spool_uploads %s failed: %v", e.dir, causeOf(e))
}

// causeOf returns an error of the file system without the path.
func causeOf(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if spool, ok := errors.AsType[*spoolError](err); ok {
		return spool.cause
	}
	return err
}

// Unwrap implements what errors.Is uses.
func (e *spoolError) Unwrap() error { return e.cause }

var errSpoolPath = errors.New("spool_uploads: write the absolute path of one directory")

// checkSpool returns an error unless files can be made in a directory.
func checkSpool(dir string) error {
	if !filepath.IsAbs(dir) {
		return errSpoolPath
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("spool_uploads: there is no directory %s: create it, writable for Caddy's user only",
			gate.ConfigWord(dir))
	case err == nil && !info.IsDir():
		return fmt.Errorf("spool_uploads: %s is not a directory: name one on a disk with room for uploads",
			gate.ConfigWord(dir))
	case err == nil:
		var s *spool
		s, err = newSpool(dir)
		s.close()
	}
	if err != nil {
		return fmt.Errorf("spool_uploads: Caddy's user can't write to %s: %w", gate.ConfigWord(dir), causeOf(err))
	}
	return nil
}

// removeSpools removes what a killed process left in a directory. Where a file in use can
// be removed, its process goes on with it; elsewhere it can't be removed.
func removeSpools(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // checkSpool has looked, and each upload will
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() && spoolName.MatchString(entry.Name()) {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}

var (
	_ io.Writer   = (*spool)(nil)
	_ io.ReaderAt = (*spool)(nil)
)
