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

// spool stores an upload on disk until it is complete. Its file is deleted immediately after
// creation, so that nothing remains even after a crash. On systems that can't delete open
// files, close deletes the file instead. After a crash, the gate deletes it the next time it
// starts.
type spool struct {
	file *os.File
	dir  string
	// named is set if the file has not been deleted yet.
	named bool
}

// spoolPattern is the os.CreateTemp pattern for spool file names. spoolName matches these
// names.
const spoolPattern = "mollygate-upload-*"

var spoolName = regexp.MustCompile(`^mollygate-upload-[0-9]+$`)

// newSpool returns an empty spool in dir. Its errors are of type *spoolError.
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

// close deletes the spool. On a nil spool, it does nothing.
func (s *spool) close() {
	if s == nil {
		return
	}
	_ = s.file.Close() // the data is no longer needed
	if s.named {
		_ = os.Remove(s.file.Name())
	}
}

// spoolError is an error that involves the upload directory.
type spoolError struct {
	dir   string
	cause error
}

// Error implements error.
func (e *spoolError) Error() string {
	return fmt.Sprintf("storing an upload in spool_uploads %s failed: %v", e.dir, causeOf(e))
}

// causeOf returns a file system error's cause without the path.
func causeOf(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if spool, ok := errors.AsType[*spoolError](err); ok {
		return spool.cause
	}
	return err
}

// Unwrap returns the underlying error.
func (e *spoolError) Unwrap() error { return e.cause }

var errSpoolPath = errors.New("spool_uploads: write the absolute path of one directory")

// checkSpool returns an error if files can't be created in dir.
func checkSpool(dir string) error {
	if !filepath.IsAbs(dir) {
		return errSpoolPath
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("spool_uploads: directory %s doesn't exist: create it, writable only by Caddy's user",
			gate.ConfigWord(dir))
	case err == nil && !info.IsDir():
		return fmt.Errorf("spool_uploads: %s is not a directory: name a directory on a disk with space for uploads",
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

// removeSpools deletes the files that killed processes have left in dir. Other processes that
// still use their files are unaffected: depending on the system, an open file either stays
// usable after deletion or can't be deleted.
func removeSpools(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // checkSpool has reported the error, and each upload will too
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
