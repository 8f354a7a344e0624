package boltfile

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// Fault is a fault in a file's structure.
type Fault struct {
	// Bucket is the affected bucket, or empty for the root bucket and the list of free pages.
	Bucket string
	// Problem describes the fault.
	Problem string
}

func (f Fault) String() string {
	if f.Bucket == "" {
		return f.Problem
	}
	return fmt.Sprintf("bucket %q: %s", f.Bucket, f.Problem)
}

// maxFaults is the maximum number of faults to record. Further faults are counted but not
// recorded.
const maxFaults = 100

// Structure is the result of [File.Verify]. It gives access to the readable parts of the file.
type Structure struct {
	file   *File
	faults []Fault
	count  int
	// use records how each page is used.
	use []pageUse
	// broken contains the buckets whose trees can't be trusted.
	broken map[string]bool
	// lost is the number of pages that are neither in use nor free because references to them
	// are missing.
	lost int
	// root states whether the last transaction wrote the root page.
	root RootAge
	// freeWrong is set if the list of free pages can't be trusted.
	freeWrong bool
	// listed contains the pages on the list of free pages. owners contains the buckets that
	// use listed pages, by page number.
	listed map[uint64]bool
	owners map[uint64]string
	// buffers holds one page per tree level.
	buffers [maxDepth][]byte
}

// pageUse describes how a page is used.
type pageUse uint8

const (
	unused pageUse = iota
	inUse
	free
	// disputed means that the page is in use and also on the list of free pages.
	disputed
)

// RootAge states whether a file's root page is current. After a lost write, a page still has
// its earlier content, so the root page can be outdated. The caller can detect this if each
// transaction stores its number in a small bucket.
type RootAge int

// Possible ages of a root page.
const (
	RootUnknown RootAge = iota
	RootCurrent
	RootOutdated
)

// Verify reads every page in use and checks everything that bbolt relies on. Each page must be
// of the right kind and have valid positions and ordered keys, and its first key must match
// its key in the branch page above it. Each page must also be either free or used exactly
// once. No process may be writing to the file.
//
// Because each page may be used only once, Verify detects wrong page numbers and never follows
// a cycle, which would make bbolt crash the process with a stack overflow.
func (f *File) Verify(root RootAge) *Structure {
	s := &Structure{file: f, use: make([]pageUse, f.pages.meta.pages), broken: make(map[string]bool), root: root,
		listed: make(map[uint64]bool), owners: make(map[uint64]string)}
	for _, number := range f.free.free {
		s.listed[number] = true
	}
	if root == RootOutdated {
		s.fault("", damaged("its root page is from an earlier transaction"))
	}
	if f.rootErr != nil {
		s.root = RootOutdated // the readable pages may be outdated
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
		s.fault("", damaged("%d pages are neither in use nor free", s.lost))
	}
	return s
}

// verifyFree compares the list of free pages with the pages in use. If a page is both free and
// in use, either the list is outdated, or another page is outdated and refers to pages that
// have since been freed. If the root page is current, an outdated page affects only one
// bucket; if several buckets are affected, the list must be outdated.
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
			s.fault("", damaged("page %d is both in use and free", number))
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

// Sound reports whether the file's structure has no faults.
func (s *Structure) Sound() bool { return s.count == 0 }

// Faults returns up to 100 of the file's faults, and the number of further faults.
func (s *Structure) Faults() (faults []Fault, more int) { return s.faults, s.count - len(s.faults) }

// File returns the file.
func (s *Structure) File() *File { return s.file }

// BucketSound reports whether a bucket is fully readable and current. Unless the root page is
// known to be current, unreferenced pages make every bucket unsound: the root page may be
// outdated and refer to old pages, which may look sound.
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

// length returns the number of pages that p occupies.
func (f *File) length(p page) uint64 { return uint64(len(p.content)) / uint64(f.pages.meta.pageSize) }

// mark marks pages as in use. If one of them is already in use, mark adds a fault and returns
// false.
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

// unreached returns the number of pages that are neither in use nor free.
func (s *Structure) unreached() (n int) {
	for number := 2; number < len(s.use); number++ {
		if s.use[number] == unused {
			n++
		}
	}
	return n
}

// verifyBuckets verifies the buckets listed in one of the root's leaf pages.
func (s *Structure) verifyBuckets(leaf page) {
	elements, _ := leafElements(leaf.content, bucketFlag) // rootErr already covers the page's faults
	for _, e := range elements {
		name := string(e.key)
		if e.flags != bucketFlag || len(e.value) < bucketLength {
			s.fault(name, damaged("its entry in the root is not a bucket"))
			continue
		}
		if root := byteOrder.Uint64(e.value); root != 0 {
			s.verifyTree(name, root, nil, nil, true, 0)
		} else if _, ok := leafElements(e.value[bucketLength:], 0); !ok {
			s.fault(name, damaged("its entries in the root are damaged"))
		}
	}
}

// verifyTree verifies a page of a bucket and all pages below it. Unless the page is the
// bucket's root, its first key must equal first. All keys must be less than end, unless end is
// nil. verifyTree returns the number of levels below the page, or -1 if unknown.
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
	s.fault(bucket, damaged("page %d is invalid", number))
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
			s.fault(bucket, damaged("an entry in page %d is out of range", p.number))
			return
		case e.flags != 0:
			s.fault(bucket, damaged("page %d has an entry of the wrong kind", p.number))
			return
		case i == 0 && !root && !bytes.Equal(e.key, first):
			s.fault(bucket, damaged("page %d starts with an unexpected key", p.number))
			return
		case i > 0 && bytes.Compare(last, e.key) >= 0, end != nil && bytes.Compare(e.key, end) >= 0:
			s.fault(bucket, damaged("the keys in page %d are out of order", p.number))
			return
		}
		last = e.key
	}
}

func (s *Structure) verifyBranch(bucket string, p page, first, end []byte, root bool, depth int) (levels int) {
	branches, ok := branchElements(p.content)
	if !ok {
		s.fault(bucket, damaged("page %d is invalid", p.number))
	} else if !root && !bytes.Equal(branches[0].key, first) {
		s.fault(bucket, damaged("page %d starts with an unexpected key", p.number))
	}
	levels = -1
	for i, b := range branches {
		childEnd := end
		if i+1 < len(branches) {
			childEnd = branches[i+1].key
		} else if end != nil && bytes.Compare(b.key, end) >= 0 {
			s.fault(bucket, damaged("the keys in page %d are out of order", p.number))
		}
		below := s.verifyTree(bucket, b.page, b.key, childEnd, false, depth+1)
		if below >= 0 && levels >= 0 && below != levels {
			s.fault(bucket, damaged("the leaf pages below page %d are at different levels", p.number))
		}
		levels = max(levels, below)
	}
	if levels < 0 {
		return -1
	}
	return levels + 1
}

// Entries yields a sound bucket's entries in key order. Keys and values are valid until the
// next entry is yielded. If a page can no longer be read, Entries stops and sets *err.
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

// walk yields the entries in a page and in the pages below it.
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

// Salvage yields entries of all buckets, in no particular order, from every leaf page that
// isn't free. From a damaged page, it yields only the entries that don't extend beyond the
// page. Entries can be damaged or outdated: after a lost write, a page still has its earlier
// entries. Keys and values are valid until the next entry is yielded.
//
// If the list of free pages can't be trusted, Salvage reads only the pages that buckets refer
// to.
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

// salvageElement yields an entry or, if the entry contains a small bucket, that bucket's
// entries. It skips ordinary entries in a root page, because they are left over from the
// page's earlier content.
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
