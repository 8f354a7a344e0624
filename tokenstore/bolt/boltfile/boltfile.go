// Package boltfile reads bbolt files without opening them with bbolt.
//
// bbolt trusts the file it opens: a wrong page number or length can crash the process or make
// bbolt return data from the wrong page, and the next write spreads the damage. [Read] checks
// the two meta pages. [File.Verify] checks every page, and returns a [Structure] that gives
// access to the readable parts of a damaged file. The package never locks or maps the file,
// and writes to it only in [Meta.Rewrite]. Reading never panics or loops, whatever the file
// contains.
//
// # Format
//
// A file consists of pages of equal size, a power of two. The first two are meta pages. The
// one with the higher transaction number is current; it contains the page numbers of the root
// bucket and of the list of free pages. A bucket is a tree of branch and leaf pages, with all
// leaf pages at the same level. The root bucket's entries are the other buckets. A small
// bucket has no pages of its own: its only leaf page is inside its entry. Numbers are in the
// machine's byte order.
//
// bbolt doesn't checksum keys and values, so this package can't verify them.
package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// ErrEmpty is returned for an empty file.
	ErrEmpty = errors.New("empty")
	// ErrNotBolt is returned for a file that bbolt didn't write.
	ErrNotBolt = errors.New("not a bbolt file")
	// ErrDamaged is wrapped by errors that describe damage.
	ErrDamaged = errors.New("damaged")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// File is a bbolt file with valid meta pages.
type File struct {
	pages pages
	// root holds the root bucket's readable pages.
	root    []page
	rootErr error
	free    freelist
	freeErr error
}

// Read reads a bbolt file of size bytes, which no process may be writing to. It returns one of
// the package's errors unless both meta pages are valid.
func Read(r io.ReaderAt, size int64) (*File, error) {
	meta, err := readMetas(r).newest(size)
	if err != nil {
		return nil, err
	}
	return read(r, meta), nil
}

// ReadDamaged is like [Read] but requires only one valid meta page and accepts a truncated
// file. If Read would fail, missing is its error, and the last transaction may have been lost.
func ReadDamaged(r io.ReaderAt, size int64) (f *File, missing, err error) {
	metas := readMetas(r)
	meta, err := metas.newest(size)
	if err != nil {
		missing = err
		if meta, err = metas.best(size); err != nil {
			return nil, nil, err
		}
	}
	return read(r, meta), missing, nil
}

// ReadShared is like [Read], but another process may be writing to the file. It retries up to
// four times if a commit interferes. It also returns errors from [os.File.Stat].
func ReadShared(file *os.File) (*File, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		before := readMetas(file)
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		meta, err := before.newest(info.Size())
		var f *File
		if err == nil {
			f = read(file, meta)
		}
		if attempt == attempts || before == readMetas(file) {
			return f, err
		}
	}
}

func read(r io.ReaderAt, meta metaPage) *File {
	f := &File{pages: pages{r, meta}}
	f.root, f.rootErr = f.pages.rootBucket()
	f.free, f.freeErr = f.pages.freelist()
	return f
}

// Err returns an error that wraps [ErrDamaged] if the root bucket or the list of free pages
// can't be read. It doesn't check other pages.
func (f *File) Err() error {
	if f.rootErr != nil {
		return f.rootErr
	}
	return f.freeErr
}

// Transaction returns the number of the last transaction.
func (f *File) Transaction() uint64 { return f.pages.meta.transaction }

// HasBucket reports whether the root has a bucket with this name.
func (f *File) HasBucket(name []byte) bool {
	_, ok := f.bucket(name)
	return ok
}

// Buckets returns the names of the buckets in the root.
func (f *File) Buckets() (names []string) {
	for _, p := range f.root {
		elements, _ := leafElements(p.content, bucketFlag)
		for _, e := range elements {
			names = append(names, string(e.key))
		}
	}
	return names
}

// Get returns a value from a small bucket, stored inside its entry. It returns nil if there is
// no such key or bucket, or if the bucket has its own pages.
func (f *File) Get(bucket, key []byte) []byte {
	entry, ok := f.bucket(bucket)
	if !ok || len(entry) < bucketLength || byteOrder.Uint64(entry) != 0 {
		return nil
	}
	e, _ := find(entry[bucketLength:], key)
	return e.value
}

// Sequence returns the sequence number of a bucket, or 0 if there is no such bucket.
func (f *File) Sequence(bucket []byte) uint64 {
	entry, ok := f.bucket(bucket)
	if !ok || len(entry) < bucketLength {
		return 0
	}
	return byteOrder.Uint64(entry[8:])
}

// bucket returns a bucket's entry in the root.
func (f *File) bucket(name []byte) (entry []byte, ok bool) {
	for _, p := range f.root {
		if e, ok := find(p.content, name); ok {
			return e.value, e.flags == bucketFlag
		}
	}
	return nil, false
}

// find returns a key's entry in a leaf page, which may be damaged.
func find(content, key []byte) (element, bool) {
	elements, _ := leafElements(content, 0)
	for _, e := range elements {
		if bytes.Equal(e.key, key) {
			return e, true
		}
	}
	return element{}, false
}
