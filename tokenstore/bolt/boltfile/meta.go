package boltfile

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// These constants belong to version 2 of the format. After the header common to all pages, a
// meta page contains a magic number, version, page size and flags (4 bytes each), the root
// bucket (16 bytes), and the free list's page number, the number of pages, the transaction and
// a checksum (8 bytes each).
const (
	metaLength = 64

	magic   = 0xED0CDAED
	version = 2

	minPageSize = 1 << 10
	maxPageSize = 1 << 16
)

var byteOrder = binary.NativeEndian

// metas holds the two meta pages. A page that wasn't found is the zero value.
type metas struct {
	pageSize int64
	pages    [2]metaPage
}

// metaPage is the content of a meta page.
type metaPage struct {
	// magic is set if the magic number is correct, and valid is set if the whole page is.
	magic, valid bool

	pageSize    int64
	root        uint64
	freelist    uint64
	pages       uint64
	transaction uint64
}

// readMetas finds the meta pages as bbolt does: it reads the page size from the first page or,
// if that page is invalid, searches for the second page at all possible offsets.
func readMetas(r io.ReaderAt) metas {
	var m metas
	m.pages[0] = readMeta(r, 0)
	m.pageSize = m.pages[0].pageSize
	if !m.pages[0].valid {
		for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
			if meta := readMeta(r, size); meta.valid && meta.pageSize == size {
				m.pageSize = size
				break
			}
		}
	}
	if m.pageSize != 0 {
		m.pages[1] = readMeta(r, m.pageSize)
	}
	return m
}

func readMeta(r io.ReaderAt, offset int64) metaPage {
	page := make([]byte, headerLength+metaLength)
	if n, _ := r.ReadAt(page, offset); n < len(page) {
		return metaPage{}
	}
	raw := page[headerLength:]
	meta := metaPage{magic: byteOrder.Uint32(raw) == magic}
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:56])
	pageSize := int64(byteOrder.Uint32(raw[8:]))
	if !meta.magic || byteOrder.Uint32(raw[4:]) != version || byteOrder.Uint64(raw[56:]) != sum.Sum64() ||
		pageSize < minPageSize || pageSize > maxPageSize || pageSize&(pageSize-1) != 0 {
		return meta
	}
	meta.valid = true
	meta.pageSize = pageSize
	meta.root = byteOrder.Uint64(raw[16:])
	meta.freelist = byteOrder.Uint64(raw[32:])
	meta.pages = byteOrder.Uint64(raw[40:])
	meta.transaction = byteOrder.Uint64(raw[48:])
	return meta
}

// newest returns the current meta page, or an error if either of the two is invalid. bbolt
// accepts a file with one valid page. If the damaged page is the newer one, accepting the file
// undoes a transaction, and deleted records reappear. An interrupted commit leaves both pages
// valid because disks write a sector in full or not at all.
func (m metas) newest(size int64) (metaPage, error) {
	first, second := m.pages[0], m.pages[1]
	switch {
	case size == 0:
		return metaPage{}, ErrEmpty
	case !first.magic && !second.magic:
		return metaPage{}, ErrNotBolt
	case !first.valid && !second.valid:
		return metaPage{}, damaged("neither of its meta pages is valid")
	}
	newest := first
	if second.transaction > first.transaction {
		newest = second
	}
	switch {
	case uint64(size)/uint64(m.pageSize) < newest.pages:
		return metaPage{}, damaged("it has %d bytes, but should have %d pages of %d bytes", size, newest.pages,
			m.pageSize)
	case !first.valid || !second.valid || first.pageSize != second.pageSize:
		return metaPage{}, damaged("one of its two meta pages is invalid, so the last change may be missing")
	}
	return newest, nil
}

// best returns the newest valid meta page, even if there is only one or the file is truncated.
// It excludes pages past the end of the file.
func (m metas) best(size int64) (metaPage, error) {
	var best metaPage
	for _, meta := range m.pages {
		if meta.valid && meta.transaction >= best.transaction {
			best = meta
		}
	}
	if !best.valid {
		return best, damaged("neither of its meta pages is valid")
	}
	best.pages = min(best.pages, uint64(size)/uint64(best.pageSize))
	return best, nil
}

// Meta is a file's current meta page. Pages with the same content compare equal.
type Meta struct {
	page   metaPage
	number int64
}

// ReadMeta reads the current meta page. It returns one of the package's errors unless both
// meta pages are valid and size is large enough for the pages in use.
func ReadMeta(r io.ReaderAt, size int64) (Meta, error) {
	metas := readMetas(r)
	newest, err := metas.newest(size)
	if err != nil {
		return Meta{}, err
	}
	m := Meta{page: newest}
	if newest == metas.pages[1] {
		m.number = 1
	}
	return m, nil
}

// Transaction returns the number of the transaction that wrote the page.
func (m Meta) Transaction() uint64 { return m.page.transaction }

// Size returns how many bytes of the file are in use.
func (m Meta) Size() int64 { return int64(m.page.pages) * m.page.pageSize }

// Rewrite rewrites the meta page unchanged, so the next sync writes it to disk. After a failed
// sync, the operating system may consider a page written even though it is only in the cache.
func (m Meta) Rewrite(file interface {
	io.ReaderAt
	io.WriterAt
}) error {
	page := make([]byte, m.page.pageSize)
	if _, err := file.ReadAt(page, m.number*m.page.pageSize); err != nil {
		return err
	}
	_, err := file.WriteAt(page, m.number*m.page.pageSize)
	return err
}
