// Package boltfile reads bbolt files without opening them with bbolt.
//
// bbolt trusts the file it opens: a wrong page number or length ends the process,
// or makes bbolt return data from the wrong page. [Read] checks what bbolt relies
// on when it opens a file, and finds the buckets. [File.CheckTrees] follows the page
// numbers. Neither writes, locks or maps the file, and neither panics, whatever the
// file holds.
//
// # Format
//
// A file has pages of one size, which is a power of two. The first two are meta
// pages. The one with the higher transaction number counts; it names the page of
// the root bucket and the page of the list of free pages. A bucket is a tree of
// branch and leaf pages, whose leaf pages are all on one level. The entries of the
// root bucket are the other buckets. A small bucket has no page of its own: its
// only leaf page is kept inside its entry. Numbers are in the machine's byte order.
//
// bbolt keeps no checksum of keys and values, so nothing here checks what they
// hold.
package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// ErrEmpty is the error for a file without a single byte.
	ErrEmpty = errors.New("empty")
	// ErrNotBolt is the error for a file that bbolt did not write.
	ErrNotBolt = errors.New("not a bbolt file")
	// ErrManyBuckets is the error for a root bucket of more than 64 pages, which is
	// not read.
	ErrManyBuckets = errors.New("more buckets than can be read")
	// ErrDamaged is the error for a file that contradicts itself. It is wrapped in an
	// error that describes the damage.
	ErrDamaged = errors.New("damaged")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// File is a bbolt file whose meta pages, root bucket and list of free pages are
// sound.
type File struct {
	pages pages
	root  []page // all pages of the root bucket
	free  freelist
}

// Read reads a file of size bytes that nobody writes to. It returns one of the
// package's errors if the file isn't sound.
func Read(r io.ReaderAt, size int64) (*File, error) {
	return read(r, size, readMetas(r))
}

// ReadShared is like Read, for a file that another process may be writing to. It
// starts over if a commit came between, up to four times. It can also return an
// error of [os.File.Stat].
func ReadShared(file *os.File) (*File, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		before := readMetas(file)
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		f, err := read(file, info.Size(), before)
		if attempt == attempts || before == readMetas(file) {
			return f, err
		}
	}
}

func read(r io.ReaderAt, size int64, m metas) (*File, error) {
	meta, err := m.newest(size)
	if err != nil {
		return nil, err
	}
	f := &File{pages: pages{r, meta}}
	if f.root, err = f.pages.rootBucket(); err != nil {
		return nil, err
	}
	if f.free, err = f.pages.freelist(); err != nil {
		return nil, err
	}
	return f, nil
}

// HasBucket reports whether the root has a bucket of this name.
func (f *File) HasBucket(name []byte) bool {
	_, ok := f.bucket(name)
	return ok
}

// Get returns a value from a small bucket, one that is kept inside its entry. It
// returns nil if there is no such key or bucket, or if the bucket has pages of its
// own.
func (f *File) Get(bucket, key []byte) []byte {
	entry, ok := f.bucket(bucket)
	if !ok || len(entry) < bucketLength || byteOrder.Uint64(entry) != 0 {
		return nil
	}
	e, _ := find(entry[bucketLength:], key)
	return e.value
}

// bucket returns the entry of a bucket in the root.
func (f *File) bucket(name []byte) (entry []byte, ok bool) {
	for _, p := range f.root {
		if e, ok := find(p.content, name); ok {
			return e.value, e.flags == bucketFlag
		}
	}
	return nil, false
}

// find looks for a key in a leaf page, which may hold anything.
func find(content, key []byte) (element, bool) {
	elements, _ := leafElements(content)
	for _, e := range elements {
		if bytes.Equal(e.key, key) {
			return e, true
		}
	}
	return element{}, false
}
