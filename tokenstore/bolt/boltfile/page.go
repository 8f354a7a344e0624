package boltfile

import (
	"bytes"
	"io"
)

// A page begins with its number (8 bytes), flags (2), how many elements it has (2)
// and how many pages it overflows into (4). The elements follow, of 16 bytes each,
// and then the keys and values that they point to.
const (
	headerLength  = 16
	elementLength = 16
	// bucketLength is the length of a bucket's header in its entry: the page of its
	// root, or 0 if the bucket is kept inside the entry, and a sequence number.
	bucketLength = 16

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01

	// noFreelist marks a file whose free pages have to be looked for.
	noFreelist = 1<<64 - 1
	// maxRootPages is the most pages of the root bucket that are read.
	maxRootPages = 64
)

// page is a page, with those that it overflows into.
type page struct {
	number  uint64
	content []byte
}

// pages are those of a file that its meta page knows.
type pages struct {
	io.ReaderAt
	meta metaPage
}

// read returns a page that says it is of this number and kind.
func (p pages) read(number uint64, kind uint16) (page, error) {
	if number < 2 || number >= p.meta.pages {
		return page{}, damaged("page %d is out of range", number)
	}
	offset := int64(number) * p.meta.pageSize
	header := make([]byte, headerLength)
	if _, err := p.ReadAt(header, offset); err != nil {
		return page{}, damaged("page %d can't be read (%w)", number, err)
	}
	overflow := uint64(byteOrder.Uint32(header[12:]))
	if byteOrder.Uint64(header) != number || byteOrder.Uint16(header[8:]) != kind || overflow >= p.meta.pages-number {
		return page{}, damaged("page %d isn't what it should be", number)
	}
	content := make([]byte, int64(overflow+1)*p.meta.pageSize)
	if _, err := p.ReadAt(content, offset); err != nil {
		return page{}, damaged("page %d can't be read (%w)", number, err)
	}
	return page{number, content}, nil
}

// leaf reports whether a page is a leaf page. It returns an error if the page is
// neither a leaf page nor a branch page.
func (p pages) leaf(number uint64) (bool, error) {
	if _, err := p.read(number, leafFlag); err == nil {
		return true, nil
	}
	_, err := p.read(number, branchFlag)
	return false, err
}

// branch returns a branch page and the pages that it leads to, at least one.
func (p pages) branch(number uint64) (branch page, targets []uint64, err error) {
	if branch, err = p.read(number, branchFlag); err != nil {
		return page{}, nil, err
	}
	targets, ok := branchTargets(branch.content)
	if !ok {
		return page{}, nil, damaged("page %d isn't what it should be", number)
	}
	return branch, targets, nil
}

// rootBucket returns all pages of the root bucket. It has more than one when small
// buckets, which are kept inside it, together outgrow a page.
func (p pages) rootBucket() (all []page, err error) {
	for level := []uint64{p.meta.root}; len(level) > 0; {
		leaf, err := p.leaf(level[0])
		if err != nil {
			return nil, err
		}
		var next []uint64
		for _, number := range level {
			if len(all) == maxRootPages {
				return nil, ErrManyBuckets
			}
			var one page
			var targets []uint64
			if leaf {
				one, err = p.read(number, leafFlag)
			} else {
				one, targets, err = p.branch(number)
			}
			if err != nil {
				return nil, err
			}
			all = append(all, one)
			next = append(next, targets...)
		}
		level = next
	}
	return all, nil
}

// freelist is the list of free pages.
type freelist struct {
	page page // where it is
	free []uint64
}

// freelist reads the list of free pages, which bbolt believes: a page that is on
// it by mistake is overwritten, and without a list bbolt reads the whole file in a
// goroutine whose panics nobody can catch.
func (p pages) freelist() (freelist, error) {
	if p.meta.freelist == noFreelist {
		return freelist{}, damaged("it has no list of free pages, as if another program had written to it")
	}
	list, err := p.read(p.meta.freelist, freelistFlag)
	if err != nil {
		return freelist{}, err
	}
	numbers := list.content[headerLength:]
	count := uint64(byteOrder.Uint16(list.content[10:]))
	if count == 1<<16-1 { // too many for the header: the first number says how many
		count, numbers = byteOrder.Uint64(numbers), numbers[8:]
	}
	if count > uint64(len(numbers)/8) {
		return freelist{}, damaged("its list of free pages is too long")
	}
	var free []uint64
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

// element is an entry of a leaf page.
type element struct {
	flags      uint32
	key, value []byte
}

// leafElements returns the entries of a leaf page, or false if it isn't one that
// bbolt wrote. Every length is checked, because the page may hold anything.
func leafElements(page []byte) ([]element, bool) {
	if len(page) < headerLength || byteOrder.Uint16(page[8:]) != leafFlag {
		return nil, false
	}
	var elements []element
	for i := range int(byteOrder.Uint16(page[10:])) {
		start := headerLength + i*elementLength
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
		start := headerLength + i*elementLength
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
