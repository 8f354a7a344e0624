package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
)

// bbolt's file format, version 2: pages with a header of 16 bytes. The first two
// are meta pages, of which the one with the higher transaction counts; it names
// the page of the root bucket and that of the list of free pages. Numbers are in
// the machine's byte order.
const (
	pageHeaderLength = 16
	metaLength       = 64
	elementLength    = 16
	bucketLength     = 16

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01

	minPageSize = 1 << 10
	maxPageSize = 1 << 16
	// noFreelist marks a file whose free pages have to be looked for.
	noFreelist = 1<<64 - 1
)

var (
	errNotBolt = errors.New("the file is not a token store: name another file (one that doesn't exist yet is made), or restore a backup if it was a store")
	errEmpty   = errors.New("the file is empty: restore a backup, or remove the file to begin with an empty store")
)

func errDamaged(format string, args ...any) error {
	return fmt.Errorf("the file is damaged: "+format+"; restore a backup", args...)
}

var byteOrder = binary.NativeEndian

// inspectContent says what is wrong with a store's file. Another process may
// write to it meanwhile, so what is wrong counts only if no commit came between.
func inspectContent(file *os.File) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		before := readMetas(file)
		info, err := file.Stat()
		if err != nil {
			return err
		}
		err = inspectPages(file, info.Size(), before)
		if err == nil || attempt == attempts || before == readMetas(file) {
			return err
		}
	}
}

// metas are the two meta pages as far as they were found.
type metas struct {
	pageSize int64
	pages    [2]metaPage
}

// metaPage is what a meta page says.
type metaPage struct {
	// magic says that it is one at all, valid that its checksum is right.
	magic, valid bool

	pageSize    int64
	root        uint64
	freelist    uint64
	pages       uint64
	transaction uint64
}

// readMetas finds the meta pages as bbolt does: the first tells the page size, or
// else the second, which is looked for.
func readMetas(file io.ReaderAt) metas {
	var m metas
	m.pages[0] = readMeta(file, 0)
	m.pageSize = m.pages[0].pageSize
	if !m.pages[0].valid {
		for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
			if meta := readMeta(file, size); meta.valid && meta.pageSize == size {
				m.pageSize = size
				break
			}
		}
	}
	if m.pageSize != 0 {
		m.pages[1] = readMeta(file, m.pageSize)
	}
	return m
}

func readMeta(file io.ReaderAt, offset int64) metaPage {
	page := make([]byte, pageHeaderLength+metaLength)
	if n, _ := file.ReadAt(page, offset); n < len(page) {
		return metaPage{}
	}
	raw := page[pageHeaderLength:]
	meta := metaPage{magic: byteOrder.Uint32(raw) == boltMagic}
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:56])
	pageSize := int64(byteOrder.Uint32(raw[8:]))
	if !meta.magic || byteOrder.Uint32(raw[4:]) != boltVersion || byteOrder.Uint64(raw[56:]) != sum.Sum64() ||
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

// newest returns the meta page that counts, or what is wrong with the two. bbolt
// makes do with one, and so goes back by one transaction if the newer is damaged:
// a token that was revoked in it would be valid again. A commit that was cut off
// leaves both valid, because a disk writes a sector wholly or not at all.
func (m metas) newest(size int64) (metaPage, error) {
	first, second := m.pages[0], m.pages[1]
	switch {
	case size == 0:
		return metaPage{}, errEmpty
	case !first.magic && !second.magic:
		return metaPage{}, errNotBolt
	case !first.valid && !second.valid:
		return metaPage{}, errDamaged("none of its meta pages is valid")
	}
	newest := first
	if second.transaction > first.transaction {
		newest = second
	}
	switch {
	case uint64(size)/uint64(m.pageSize) < newest.pages:
		return metaPage{}, errDamaged("it has %d bytes and %d pages of %d are expected", size, newest.pages, m.pageSize)
	case !first.valid || !second.valid || first.pageSize != second.pageSize:
		return metaPage{}, errDamaged("one of its two meta pages isn't valid, so that the last change may be missing")
	}
	return newest, nil
}

func inspectPages(file io.ReaderAt, size int64, m metas) error {
	meta, err := m.newest(size)
	if err != nil {
		return err
	}
	if err := inspectRoot(file, meta); err != nil {
		return err
	}
	_, _, err = readFreelist(file, meta)
	return err
}

// readPage returns a page, with those that it overflows into, that says it is of
// this number and kind.
func readPage(file io.ReaderAt, meta metaPage, number uint64, kind uint16) ([]byte, error) {
	if number < 2 || number >= meta.pages {
		return nil, errDamaged("page %d is out of range", number)
	}
	offset := int64(number) * meta.pageSize
	header := make([]byte, pageHeaderLength)
	if _, err := file.ReadAt(header, offset); err != nil {
		return nil, errDamaged("page %d can't be read (%w)", number, err)
	}
	overflow := uint64(byteOrder.Uint32(header[12:]))
	if byteOrder.Uint64(header) != number || byteOrder.Uint16(header[8:]) != kind || overflow >= meta.pages-number {
		return nil, errDamaged("page %d isn't what it should be", number)
	}
	page := make([]byte, int64(overflow+1)*meta.pageSize)
	if _, err := file.ReadAt(page, offset); err != nil {
		return nil, errDamaged("page %d can't be read (%w)", number, err)
	}
	return page, nil
}

// inspectRoot looks for our mark in the meta bucket, which bbolt keeps inside a
// page of the root bucket because it is small, and for the other buckets.
func inspectRoot(file io.ReaderAt, meta metaPage) error {
	leaves, err := rootLeaves(file, meta, func(uint64, []byte) error { return nil })
	if err != nil {
		return err
	}
	for _, page := range leaves {
		bucket, flags := lookup(page, metaBucket)
		if flags != bucketFlag || len(bucket) < bucketLength || byteOrder.Uint64(bucket) != 0 {
			continue
		}
		inline := bucket[bucketLength:]
		format, _ := lookup(inline, formatKey)
		version, _ := lookup(inline, versionKey)
		if err := checkFormat(format, version); err != nil {
			return err
		}
		return checkBuckets(func(name []byte) bool {
			return slices.ContainsFunc(leaves, func(leaf []byte) bool {
				_, flags := lookup(leaf, name)
				return flags == bucketFlag
			})
		})
	}
	return errForeign
}

// maxRootPages is more than the root bucket of ours ever has. It has more than one
// when small buckets, which bbolt keeps inside it, together outgrow a page.
const maxRootPages = 64

// rootLeaves reads the root bucket from the top and returns its leaf pages. use is
// called with every page.
func rootLeaves(file io.ReaderAt, meta metaPage, use func(number uint64, page []byte) error) (leaves [][]byte, err error) {
	kind := uint16(leafFlag)
	if _, err := readPage(file, meta, meta.root, branchFlag); err == nil {
		kind = branchFlag
	}
	for level, read := []uint64{meta.root}, 0; ; {
		var next []uint64
		for _, number := range level {
			if read++; read > maxRootPages {
				return nil, errForeign
			}
			page, err := readPage(file, meta, number, kind)
			if err != nil {
				return nil, err
			}
			if err := use(number, page); err != nil {
				return nil, err
			}
			if kind == leafFlag {
				leaves = append(leaves, page)
				continue
			}
			targets, ok := branchTargets(page)
			if !ok {
				return nil, errDamaged("page %d isn't what it should be", number)
			}
			next = append(next, targets...)
		}
		if kind == leafFlag {
			return leaves, nil
		}
		if _, err := readPage(file, meta, next[0], leafFlag); err == nil {
			kind = leafFlag // all leaf pages are on one level
		}
		level = next
	}
}

// lookup finds a key in a leaf page.
func lookup(page []byte, key []byte) (value []byte, flags uint32) {
	elements, _ := leafElements(page)
	for _, e := range elements {
		if bytes.Equal(e.key, key) {
			return e.value, e.flags
		}
	}
	return nil, 0
}

// element is an entry of a leaf page.
type element struct {
	flags      uint32
	key, value []byte
}

// leafElements returns the entries of a leaf page, or false if it isn't one that
// bbolt wrote. Every length is checked, because the page may hold anything.
func leafElements(page []byte) ([]element, bool) {
	if len(page) < pageHeaderLength || byteOrder.Uint16(page[8:]) != leafFlag {
		return nil, false
	}
	var elements []element
	for i := range int(byteOrder.Uint16(page[10:])) {
		start := pageHeaderLength + i*elementLength
		if len(page) < start+elementLength {
			return nil, false
		}
		raw := page[start:]
		position, keyLength, valueLength := uint64(byteOrder.Uint32(raw[4:])), uint64(byteOrder.Uint32(raw[8:])), uint64(byteOrder.Uint32(raw[12:]))
		if position+keyLength+valueLength > uint64(len(raw)) {
			return nil, false
		}
		e := element{
			flags: byteOrder.Uint32(raw),
			key:   raw[position : position+keyLength],
			value: raw[position+keyLength : position+keyLength+valueLength],
		}
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return nil, false
		}
		elements = append(elements, e)
	}
	return elements, true
}

// branchTargets returns the pages that a branch page leads to, at least one, or
// false if it isn't one that bbolt wrote.
func branchTargets(page []byte) (targets []uint64, ok bool) {
	var last []byte
	for i := range int(byteOrder.Uint16(page[10:])) {
		start := pageHeaderLength + i*elementLength
		if len(page) < start+elementLength {
			return nil, false
		}
		element := page[start:]
		position, length := uint64(byteOrder.Uint32(element)), uint64(byteOrder.Uint32(element[4:]))
		if position+length > uint64(len(element)) {
			return nil, false
		}
		key := element[position : position+length]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return nil, false
		}
		last = key
		targets = append(targets, byteOrder.Uint64(element[8:]))
	}
	return targets, len(targets) > 0
}

// readFreelist reads the list of free pages, which bbolt believes: a page that is
// on it by mistake is overwritten, and without a list bbolt reads the whole file
// in a goroutine whose panics nobody can catch.
func readFreelist(file io.ReaderAt, meta metaPage) (page []byte, free []uint64, err error) {
	if meta.freelist == noFreelist {
		return nil, nil, errDamaged("it has no list of free pages, as if another program had written to it")
	}
	page, err = readPage(file, meta, meta.freelist, freelistFlag)
	if err != nil {
		return nil, nil, err
	}
	ids := page[pageHeaderLength:]
	count := uint64(byteOrder.Uint16(page[10:]))
	if count == 1<<16-1 { // too many for the header: the first number says how many
		count, ids = byteOrder.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return nil, nil, errDamaged("its list of free pages is too long")
	}
	last := uint64(1)
	for i := range count {
		id := byteOrder.Uint64(ids[i*8:])
		if id <= last || id >= meta.pages {
			return nil, nil, errDamaged("its list of free pages is out of order")
		}
		free = append(free, id)
		last = id
	}
	return page, free, nil
}
