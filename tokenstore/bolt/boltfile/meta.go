package boltfile

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// Version 2 of the format. A meta page has, after the header that every page has:
// magic number, version and page size of 4 bytes each, 4 bytes of flags, the root
// bucket of 16, and the page of the free list, the number of pages, the
// transaction and a checksum of 8 each.
const (
	metaLength = 64

	magic   = 0xED0CDAED
	version = 2

	minPageSize = 1 << 10
	maxPageSize = 1 << 16
)

var byteOrder = binary.NativeEndian

// metas are the two meta pages as far as they were found.
type metas struct {
	pageSize int64
	pages    [2]metaPage
}

// metaPage is what a meta page says.
type metaPage struct {
	// magic reports whether it is one at all, valid whether its checksum is right.
	magic, valid bool

	pageSize    int64
	root        uint64
	freelist    uint64
	pages       uint64
	transaction uint64
}

// readMetas finds the meta pages as bbolt does: the first tells the page size, or
// else the second, which is looked for.
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

// newest returns the meta page that counts, or an error if one of the two is wrong. bbolt
// makes do with one, and so goes back by one transaction if the newer is damaged:
// what was deleted in it would be there again. A commit that was cut off leaves
// both valid, because a disk writes a sector wholly or not at all.
func (m metas) newest(size int64) (metaPage, error) {
	first, second := m.pages[0], m.pages[1]
	switch {
	case size == 0:
		return metaPage{}, ErrEmpty
	case !first.magic && !second.magic:
		return metaPage{}, ErrNotBolt
	case !first.valid && !second.valid:
		return metaPage{}, damaged("none of its meta pages is valid")
	}
	newest := first
	if second.transaction > first.transaction {
		newest = second
	}
	switch {
	case uint64(size)/uint64(m.pageSize) < newest.pages:
		return metaPage{}, damaged("it has %d bytes and %d pages of %d are expected", size, newest.pages, m.pageSize)
	case !first.valid || !second.valid || first.pageSize != second.pageSize:
		return metaPage{}, damaged("one of its two meta pages isn't valid, so that the last change may be missing")
	}
	return newest, nil
}

// best returns the newest valid meta page, also of a file that was cut off or has just
// one: pages behind its end are out of range then.
func (m metas) best(size int64) (metaPage, error) {
	var best metaPage
	for _, meta := range m.pages {
		if meta.valid && meta.transaction >= best.transaction {
			best = meta
		}
	}
	if !best.valid {
		return best, damaged("none of its meta pages is valid")
	}
	best.pages = min(best.pages, uint64(size)/uint64(best.pageSize))
	return best, nil
}

// Meta is the meta page that counts. Two are equal if they say the same.
type Meta struct {
	page   metaPage
	number int64
}

// ReadMeta reads the meta page that counts. It returns one of the package's errors if the
// two meta pages are not both valid, or if size is less than they say.
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

// Rewrite writes the meta page again, as it is. After a failed sync it may be in the
// system's memory only, and the system believes that it is on disk.
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
