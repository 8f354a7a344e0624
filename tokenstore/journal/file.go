package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
)

// A journal file consists of a header followed by the rings. The header starts with a magic
// string that ends with the format version, followed by the journal's ID and the store's
// identity. The mark is stored at its own offset. All numbers are little endian.
const (
	fileMagic      = "mollygate journal 1\n"
	fileHeaderSize = 4096
	fileMarkOffset = 64
	fileSize       = fileHeaderSize + Rings*ringSize

	fileMode = 0o600 // entries contain client addresses and user agents
)

// file is the copy of the rings that survives if the process is killed. The whole file is
// written before it is mapped: on a full disk, writing to a hole in the mapping would kill the
// process.
type file struct {
	path     string
	file     *os.File
	identity fs.FileInfo
	header   []byte
	mapped   []byte // nil on systems without mmap
	// broken is set when a write fails.
	broken atomic.Bool
}

// create creates a journal file, replacing any existing one.
func create(path string, id, store, mark uint64) (_ *file, err error) {
	err = checkFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replacing the journal: %w", err)
	}
	made, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, fmt.Errorf("creating the journal: %w", err)
	}
	f := &file{path: path, file: made}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("creating the journal %s: %w", path, err), f.close(), os.Remove(path))
		}
	}()
	f.header = binary.LittleEndian.AppendUint64([]byte(fileMagic), id)
	f.header = binary.LittleEndian.AppendUint64(f.header, store)
	header := make([]byte, fileHeaderSize)
	copy(header, f.header)
	binary.LittleEndian.PutUint64(header[fileMarkOffset:], mark)
	_, err = made.Write(header)
	zeros := make([]byte, ringSize/16)
	for i := 0; err == nil && i < 16*Rings; i++ {
		_, err = made.Write(zeros)
	}
	if err != nil {
		return nil, err
	}
	if f.mapped, err = mapFile(made, fileSize); err != nil {
		return nil, err
	}
	f.identity, err = made.Stat()
	return f, err
}

// write copies b into the file. If the file was truncated or its disk fails, writing to the
// mapping causes a memory fault.
func (f *file) write(b []byte, at int64) {
	if f.broken.Load() {
		return
	}
	if f.mapped == nil {
		if _, err := f.file.WriteAt(b, at); err != nil {
			f.broken.Store(true)
		}
		return
	}
	defer f.recoverFault(debug.SetPanicOnFault(true))
	copy(f.mapped[at:], b)
}

func (f *file) recoverFault(before bool) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		f.broken.Store(true)
	}
}

// problem returns an error if the file is unusable or was changed by someone else.
func (f *file) problem() error {
	if f.broken.Load() {
		return fmt.Errorf("the journal %s can't be written: it was truncated, or its disk failed", f.path)
	}
	switch now, err := os.Stat(f.path); {
	case err != nil:
		return fmt.Errorf("the journal was removed: %w", err)
	case !os.SameFile(now, f.identity):
		return fmt.Errorf("the journal %s was replaced while in use", f.path)
	case now.Size() < fileSize:
		return fmt.Errorf("the journal %s was truncated while in use", f.path)
	}
	header := make([]byte, len(f.header))
	if _, err := f.file.ReadAt(header, 0); err != nil || !bytes.Equal(header, f.header) {
		return fmt.Errorf("the journal %s was overwritten while in use", f.path)
	}
	return nil
}

// truncate removes the entries from the closed file, unless it has been replaced by another
// file.
func (f *file) truncate() error {
	if now, err := os.Stat(f.path); err != nil || !os.SameFile(now, f.identity) {
		return nil
	}
	return os.Truncate(f.path, fileHeaderSize)
}

func (f *file) close() error {
	return errors.Join(unmap(f.mapped), f.file.Close())
}
