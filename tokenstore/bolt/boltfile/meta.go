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
