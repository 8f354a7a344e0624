package boltfile

import (
	"bytes"
	"io"
)

// A page starts with its number (8 bytes), flags (2), the number of elements (2) and the
// number of overflow pages (4). Next come the elements, 16 bytes each, and the keys and values
// that they point to.
const (
	headerLength  = 16
	elementLength = 16
	// bucketLength is the length of the bucket header in an entry. The header contains the
	// number of the bucket's root page, or 0 if the bucket is stored inside the entry, and a
	// sequence number.
	bucketLength = 16

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01

	// noFreelist replaces the free list's page number in a file without a free list.
	noFreelist = 1<<64 - 1
	// maxRootPages is the maximum number of pages in the root bucket.
	maxRootPages = 64
	// maxDepth is greater than any tree's depth, because each branch page has at least two
	// pages below it.
	maxDepth = 64
)

// page is a page with its overflow pages.
type page struct {
	number  uint64
	content []byte
}

// kind returns the page's flags.
func (p page) kind() uint16 { return byteOrder.Uint16(p.content[8:]) }

// pages reads a file's pages, up to the number of pages in its meta page.
type pages struct {
	io.ReaderAt
	meta metaPage
}

// load reads a page of any kind and checks its number. If buffer is large enough, load reuses
// it.
func (p pages) load(number uint64, buffer []byte) (page, error) {
	if number < 2 || number >= p.meta.pages {
		return page{}, damaged("page %d is out of range", number)
	}
	size := p.meta.pageSize
	offset := int64(number) * size
	if int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	content := buffer[:size]
	if _, err := p.ReadAt(content, offset); err != nil {
		return page{}, damaged("page %d can't be read (%w)", number, err)
	}
	overflow := uint64(byteOrder.Uint32(content[12:]))
	if byteOrder.Uint64(content) != number || overflow >= p.meta.pages-number {
		return page{}, damaged("page %d is invalid", number)
	}
	if overflow == 0 {
		return page{number, content}, nil
	}
	whole := make([]byte, int64(overflow+1)*size)
	copy(whole, content)
	if _, err := p.ReadAt(whole[size:], offset+size); err != nil {
		return page{}, damaged("page %d can't be read (%w)", number, err)
	}
	return page{number, whole}, nil
}

// read reads a page and checks its kind.
func (p pages) read(number uint64, kind uint16) (page, error) {
	found, err := p.load(number, nil)
	if err == nil && found.kind() != kind {
		err = damaged("page %d is invalid", number)
	}
	return found, err
}

// rootBucket returns the root bucket's pages. If some can't be read, it returns the rest and
// an error. The root has several pages if the small buckets stored inside it don't fit into
// one.
func (p pages) rootBucket() (all []page, err error) {
	for level := []uint64{p.meta.root}; len(level) > 0; {
		var next []uint64
		for _, number := range level {
			if len(all) == maxRootPages {
				return all, damaged("its root bucket has more than %d pages", maxRootPages)
			}
			one, loadErr := p.load(number, nil)
			if loadErr != nil {
				err = loadErr
				continue
			}
			switch one.kind() {
			case leafFlag:
				if _, ok := leafElements(one.content, bucketFlag); !ok {
					err = damaged("page %d is invalid", number)
				}
			case branchFlag:
				branches, ok := branchElements(one.content)
				if !ok {
					err = damaged("page %d is invalid", number)
				}
				for _, b := range branches {
					next = append(next, b.page)
				}
			default:
				err = damaged("page %d is invalid", number)
				continue
			}
			all = append(all, one)
		}
		level = next
	}
	return all, err
}

// freelist is the list of free pages.
type freelist struct {
	page page // the page that contains the list
	free []uint64
}

// freelist reads the list of free pages. bbolt trusts this list and may overwrite any page on
// it. If there is no list, bbolt reads the whole file in a goroutine whose panics can't be
// recovered.
func (p pages) freelist() (freelist, error) {
	if p.meta.freelist == noFreelist {
		return freelist{}, damaged("it has no list of free pages; another program may have written to it")
	}
	list, err := p.read(p.meta.freelist, freelistFlag)
	if err != nil {
		return freelist{}, err
	}
	numbers := list.content[headerLength:]
	count := uint64(byteOrder.Uint16(list.content[10:]))
	if count == 1<<16-1 { // the count doesn't fit in the header, so the list starts with it
		count, numbers = byteOrder.Uint64(numbers), numbers[8:]
	}
	if count > uint64(len(numbers)/8) {
		return freelist{}, damaged("its list of free pages is too long")
	}
	free := make([]uint64, 0, count)
	last := uint64(1)
	for i := range count {
		number := byteOrder.Uint64(numbers[i*8:])
		if number <= last || number >= p.meta.pages {
			return freelist{}, damaged("its list of free pages is out of order")
		}
		free = append(free, number)
		last = number
	}
	return freelist{list, free}, nil
}

// element is an entry in a leaf page.
type element struct {
	flags      uint32
	key, value []byte
}

// leafElements returns a leaf page's entries, except those that extend beyond the page. sound
// reports whether bbolt could have written the page with these flags in every entry.
func leafElements(page []byte, flags uint32) (elements []element, sound bool) {
	if len(page) < headerLength || byteOrder.Uint16(page[8:]) != leafFlag {
		return nil, false
	}
	sound = true
	count := int(byteOrder.Uint16(page[10:]))
	elements = make([]element, 0, min(count, len(page)/elementLength))
	for i := range count {
		e, ok := leafElement(page, i, count)
		if !ok {
			sound = false
			continue
		}
		if n := len(elements); e.flags != flags || n > 0 && bytes.Compare(elements[n-1].key, e.key) >= 0 {
			sound = false
		}
		elements = append(elements, e)
	}
	return elements, sound
}

// leafElement returns an entry from a leaf page. ok is false if the entry extends beyond the
// page.
func leafElement(page []byte, i, count int) (e element, ok bool) {
	start := headerLength + i*elementLength
	if len(page) < start+elementLength {
		return e, false
	}
	raw := page[start:]
	position, keyLength, valueLength := uint64(byteOrder.Uint32(raw[4:])), uint64(byteOrder.Uint32(raw[8:])),
		uint64(byteOrder.Uint32(raw[12:]))
	if position < uint64(count-i)*elementLength || position+keyLength+valueLength > uint64(len(raw)) {
		return e, false
	}
	return element{
		flags: byteOrder.Uint32(raw),
		key:   raw[position : position+keyLength : position+keyLength],
		value: raw[position+keyLength : position+keyLength+valueLength : position+keyLength+valueLength],
	}, true
}

// branch is an entry in a branch page: a page number and that page's first key.
type branch struct {
	key  []byte
	page uint64
}

// branchElements returns a branch page's entries, except those that extend beyond the page.
// sound reports whether bbolt could have written the page.
func branchElements(page []byte) (branches []branch, sound bool) {
	if len(page) < headerLength || byteOrder.Uint16(page[8:]) != branchFlag {
		return nil, false
	}
	count := int(byteOrder.Uint16(page[10:]))
	sound = count > 0
	branches = make([]branch, 0, min(count, len(page)/elementLength))
	for i := range count {
		start := headerLength + i*elementLength
		if len(page) < start+elementLength {
			return branches, false
		}
		raw := page[start:]
		position, length := uint64(byteOrder.Uint32(raw)), uint64(byteOrder.Uint32(raw[4:]))
		if position < uint64(count-i)*elementLength || position+length > uint64(len(raw)) {
			sound = false
			continue
		}
		b := branch{raw[position : position+length : position+length], byteOrder.Uint64(raw[8:])}
		if n := len(branches); n > 0 && bytes.Compare(branches[n-1].key, b.key) >= 0 {
			sound = false
		}
		branches = append(branches, b)
	}
	return branches, sound
}
