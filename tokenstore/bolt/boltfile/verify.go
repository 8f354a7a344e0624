package boltfile

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// Fault is a place where a file contradicts itself.
type Fault struct {
	// Bucket is where, or empty for the root bucket and the list of free pages.
	Bucket string
	// Problem describes it.
	Problem string
}

func (f Fault) String() string {
	if f.Bucket == "" {
		return f.Problem
	}
	return fmt.Sprintf("bucket %q: %s", f.Bucket, f.Problem)
}

// maxFaults is how many faults of a file are kept; further ones are counted.
const maxFaults = 100

// Structure is what [File.Verify] found out about all pages of a file.
type Structure struct {
	file   *File
	faults []Fault
	count  int
	// use is what each page is used for.
	use []pageUse
	// broken are the buckets whose trees can't be trusted.
	broken map[string]bool
	// lost is how many pages are neither in use nor free: something that should lead to
	// them doesn't.
	lost int
	// root is whether the root page is the one of the last transaction.
	root RootAge
	// freeWrong is set if the list of free pages can't be trusted.
	freeWrong bool
	// listed are the pages on the list of free pages, and owners the buckets of those that
	// are in use.
	listed map[uint64]bool
	owners map[uint64]string
	// buffers has one page for each level of a tree.
	buffers [maxDepth][]byte
}

// pageUse is what a page is used for.
type pageUse uint8

const (
	unused pageUse = iota
	inUse
	free
	// disputed pages are in use and on the list of free pages.
	disputed
)

// RootAge is what the owner of a file knows of its root page, for example by the number of
// the transaction that it has written into a small bucket. A page that was not written
// holds an earlier page, which may be an earlier root page.
type RootAge int

// The ages of a root page.
const (
	RootUnknown RootAge = iota
	RootCurrent
	RootOutdated
)

// Verify reads every page that is in use, in a file that nobody writes to, and compares
// all that bbolt relies on: the kinds of pages, the positions in them, the order of keys,
// the first key of a page with the one that its branch page has for it, and that each
// page is used once or free.
//
// A page belongs to one place. So a page number that leads to the wrong place is noticed,
// and one that leads in a circle, which would let bbolt end the process with a stack
// overflow, is not followed.
func (f *File) Verify(root RootAge) *Structure {
	s := &Structure{file: f, use: make([]pageUse, f.pages.meta.pages), broken: make(map[string]bool), root: root,
		listed: make(map[uint64]bool), owners: make(map[uint64]string)}
	for _, number := range f.free.free {
		s.listed[number] = true
	}
	if root == RootOutdated {
		s.fault("", damaged("its root page is that of an earlier transaction"))
	}
	if f.rootErr != nil {
		s.root = RootOutdated // what can be read of it may be
		s.fault("", f.rootErr)
	}
	for _, p := range f.root {
		s.mark("", p.number, f.length(p))
	}
	for _, p := range f.root {
		if p.kind() == leafFlag {
			s.verifyBuckets(p)
		}
	}
	s.verifyFree()
	if s.lost = s.unreached(); s.lost > 0 {
		s.fault("", damaged("%d pages belong to nothing", s.lost))
	}
	return s
}

// verifyFree compares the list of free pages with the pages in use. If they contradict each
// other, either is outdated: the list, or a page that leads to pages that were freed since.
// If the root page is current, an outdated page is of one bucket.
func (s *Structure) verifyFree() {
	f := s.file
	if f.freeErr != nil {
		s.freeWrong = true
		s.fault("", f.freeErr)
		return
	}
	s.mark("", f.free.page.number, f.length(f.free.page))
	var contradictions []uint64
	for _, number := range f.free.free {
		if s.use[number] == inUse {
			contradictions = append(contradictions, number)
			s.fault("", damaged("page %d is used and is free", number))
		} else {
			s.use[number] = free
		}
	}
	if len(contradictions) == 0 {
		return
	}
	owners := make(map[string]bool)
	for _, number := range contradictions {
		owners[s.owners[number]] = true
	}
	if s.root == RootCurrent && len(owners) > 1 {
		s.freeWrong = true
		return
	}
	s.freeWrong = s.root == RootUnknown
	for _, number := range contradictions {
		s.use[number] = disputed
		s.broken[s.owners[number]] = true
	}
}

// Sound reports whether the whole file is as bbolt writes it.
func (s *Structure) Sound() bool { return s.count == 0 }

// Faults returns up to 100 faults of the file, and how many more it has.
func (s *Structure) Faults() (faults []Fault, more int) { return s.faults, s.count - len(s.faults) }

// File returns the file.
func (s *Structure) File() *File { return s.file }

// BucketSound reports whether all of a bucket can be read, and nothing of it is missing.
// Unless the root page is known to be current, no bucket is sound if there are pages that
// nothing leads to: an outdated root page leads to other pages, which may look sound.
func (s *Structure) BucketSound(name string) bool {
	return s.file.rootErr == nil && (s.lost == 0 || s.root == RootCurrent) && s.file.HasBucket([]byte(name)) &&
		!s.broken[name]
}

func (s *Structure) fault(bucket string, err error) {
	if bucket != "" {
		s.broken[bucket] = true
	}
	if s.count++; len(s.faults) < maxFaults {
		s.faults = append(s.faults, Fault{bucket, err.Error()})
	}
}

// length is how many pages a page takes.
func (f *File) length(p page) uint64 { return uint64(len(p.content)) / uint64(f.pages.meta.pageSize) }

// mark notes that pages are in use, and reports whether they had no use.
func (s *Structure) mark(bucket string, number, length uint64) bool {
	for n := number; n < number+length; n++ {
		if s.use[n] != unused {
			s.fault(bucket, damaged("page %d is used twice", n))
			return false
		}
	}
	for n := number; n < number+length; n++ {
		s.use[n] = inUse
		if s.listed[n] {
			s.owners[n] = bucket
		}
	}
	return true
}

// unreached returns how many pages are neither in use nor free.
func (s *Structure) unreached() (n int) {
	for number := 2; number < len(s.use); number++ {
		if s.use[number] == unused {
			n++
		}
	}
	return n
}

// verifyBuckets goes through the buckets that a leaf page of the root has.
func (s *Structure) verifyBuckets(leaf page) {
	elements, _ := leafElements(leaf.content, bucketFlag) // its faults are in rootErr
	for _, e := range elements {
		name := string(e.key)
		if e.flags != bucketFlag || len(e.value) < bucketLength {
			s.fault(name, damaged("its entry in the root is no bucket"))
			continue
		}
		if root := byteOrder.Uint64(e.value); root != 0 {
			s.verifyTree(name, root, nil, nil, true, 0)
		} else if _, ok := leafElements(e.value[bucketLength:], 0); !ok {
			s.fault(name, damaged("its entries in the root are damaged"))
		}
	}
}

// verifyTree goes through a page of a bucket and what it leads to. The keys are at least
// first, which is also the first key unless the page is the bucket's root, and less than
// end, unless that is nil. It returns how many levels of pages there are below.
func (s *Structure) verifyTree(bucket string, number uint64, first, end []byte, root bool, depth int) (levels int) {
	if depth == maxDepth {
		s.fault(bucket, damaged("its tree has more than %d levels", maxDepth))
		return -1
	}
	p, err := s.file.pages.load(number, s.buffers[depth])
	if err != nil {
		s.fault(bucket, err)
		return -1
	}
	if s.file.length(p) == 1 {
		s.buffers[depth] = p.content
	}
	if !s.mark(bucket, number, s.file.length(p)) {
		return -1
	}
	switch p.kind() {
	case leafFlag:
		s.verifyLeaf(bucket, p, first, end, root)
		return 0
	case branchFlag:
		return s.verifyBranch(bucket, p, first, end, root, depth)
	}
	s.fault(bucket, damaged("page %d isn't what it should be", number))
	return -1
}

func (s *Structure) verifyLeaf(bucket string, p page, first, end []byte, root bool) {
	count := int(byteOrder.Uint16(p.content[10:]))
	if count == 0 && !root {
		s.fault(bucket, damaged("page %d is empty", p.number))
		return
	}
	var last []byte
	for i := range count {
		e, ok := leafElement(p.content, i, count)
		switch {
		case !ok:
			s.fault(bucket, damaged("an entry of page %d is out of range", p.number))
			return
		case e.flags != 0:
			s.fault(bucket, damaged("page %d has an entry of another kind", p.number))
			return
		case i == 0 && !root && !bytes.Equal(e.key, first):
			s.fault(bucket, damaged("page %d begins with another key than expected", p.number))
			return
		case i > 0 && bytes.Compare(last, e.key) >= 0, end != nil && bytes.Compare(e.key, end) >= 0:
			s.fault(bucket, damaged("the keys of page %d are out of order", p.number))
			return
		}
		last = e.key
	}
}

func (s *Structure) verifyBranch(bucket string, p page, first, end []byte, root bool, depth int) (levels int) {
	branches, ok := branchElements(p.content)
	if !ok {
		s.fault(bucket, damaged("page %d isn't what it should be", p.number))
	} else if !root && !bytes.Equal(branches[0].key, first) {
		s.fault(bucket, damaged("page %d begins with another key than expected", p.number))
	}
	levels = -1
	for i, b := range branches {
		childEnd := end
		if i+1 < len(branches) {
			childEnd = branches[i+1].key
		} else if end != nil && bytes.Compare(b.key, end) >= 0 {
			s.fault(bucket, damaged("the keys of page %d are out of order", p.number))
		}
		below := s.verifyTree(bucket, b.page, b.key, childEnd, false, depth+1)
		if below >= 0 && levels >= 0 && below != levels {
			s.fault(bucket, damaged("the pages below page %d are on different levels", p.number))
		}
		levels = max(levels, below)
	}
	if levels < 0 {
		return -1
	}
	return levels + 1
}

// Entries yields the entries of a bucket that is sound, in the order of their keys. A key
// and a value are valid until the next one is yielded. It ends early at a page that can
// no longer be read, and then err is set.
func (s *Structure) Entries(bucket string, err *error) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		entry, ok := s.file.bucket([]byte(bucket))
		if !ok {
			return
		}
		if root := byteOrder.Uint64(entry); root != 0 {
			_, *err = s.walk(root, 0, yield)
			return
		}
		elements, _ := leafElements(entry[bucketLength:], 0)
		for _, e := range elements {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// walk yields the entries of a page and of those that it leads to.
func (s *Structure) walk(number uint64, depth int, yield func(key, value []byte) bool) (more bool, err error) {
	p, err := s.file.pages.load(number, s.buffers[depth])
	if err != nil {
		return false, err
	}
	if p.kind() == branchFlag {
		branches, _ := branchElements(p.content)
		for _, b := range branches {
			if more, err := s.walk(b.page, depth+1, yield); err != nil || !more {
				return more, err
			}
		}
		return true, nil
	}
	elements, _ := leafElements(p.content, 0)
	for _, e := range elements {
		if !yield(e.key, e.value) {
			return false, nil
		}
	}
	return true, nil
}

// Salvage yields all entries of leaf pages that are not free, in any order, whichever
// bucket they are of, and those of small buckets. Of a damaged page it yields what is
// within the page. The entries may be damaged, and outdated: a page that was never
// written has the entries of an earlier page. A key and a value are valid until the next
// one is yielded.
//
// If the list of free pages can't be trusted, the pages are those that the buckets lead to.
func (s *Structure) Salvage() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for number := uint64(2); number < s.file.pages.meta.pages; number++ {
			if use := s.use[number]; use == free || use == disputed || use == unused && s.freeWrong {
				continue
			}
			p, err := s.file.pages.load(number, s.buffers[0])
			if err != nil || p.kind() != leafFlag {
				continue
			}
			root := slices.ContainsFunc(s.file.root, func(r page) bool { return r.number == number })
			elements, _ := leafElements(p.content, 0)
			for _, e := range elements {
				if !s.salvageElement(e, root, yield) {
					return
				}
			}
		}
	}
}

// salvageElement yields an entry, or the entries of a small bucket. Of a root page, other
// entries are those of an earlier page.
func (s *Structure) salvageElement(e element, root bool, yield func(key, value []byte) bool) bool {
	if e.flags != bucketFlag {
		return root || yield(e.key, e.value)
	}
	if len(e.value) < bucketLength || byteOrder.Uint64(e.value) != 0 {
		return true
	}
	elements, _ := leafElements(e.value[bucketLength:], 0)
	for _, e := range elements {
		if e.flags == 0 && !yield(e.key, e.value) {
			return false
		}
	}
	return true
}
