package bolt

import "io"

// inspectTrees follows the page numbers in a file that nobody writes to. bbolt
// follows them without looking where they lead: one that leads back to its own
// page, as a single flipped bit can make it, ends the process with a stack
// overflow that nobody can catch.
//
// A page belongs to one place: the free list, or one branch page, or the root. So
// a wrong number is noticed because its page is used twice, without the leaf pages,
// which are nearly all of the file, being read.
func inspectTrees(file io.ReaderAt) error {
	m := readMetas(file)
	meta := m.pages[0]
	if m.pages[1].transaction > meta.transaction {
		meta = m.pages[1]
	}
	t := &trees{file: file, meta: meta, used: make([]bool, meta.pages)}
	if err := t.useFreelist(); err != nil {
		return err
	}
	leaves, err := rootLeaves(file, meta, t.use)
	if err != nil {
		return err
	}
	for _, leaf := range leaves {
		if err := t.followBuckets(leaf); err != nil {
			return err
		}
	}
	return nil
}

// followBuckets goes through the buckets that a page of the root has.
func (t *trees) followBuckets(leaf []byte) error {
	elements, ok := leafElements(leaf)
	if !ok {
		return errDamaged("its root page isn't what it should be")
	}
	for _, e := range elements {
		if e.flags != bucketFlag || len(e.value) < bucketLength {
			return errDamaged("an entry of its root page is no bucket")
		}
		if page := byteOrder.Uint64(e.value); page != 0 { // else the bucket is in the entry
			if err := t.follow(page); err != nil {
				return err
			}
		}
	}
	return nil
}

// trees are the pages of a file by their use.
type trees struct {
	file io.ReaderAt
	meta metaPage
	used []bool
}

// use notes that a page, with those it overflows into, is used.
func (t *trees) use(number uint64, page []byte) error {
	for i := range uint64(len(page)) / uint64(t.meta.pageSize) {
		if err := t.useOne(number + i); err != nil {
			return err
		}
	}
	return nil
}

func (t *trees) useOne(number uint64) error {
	if number < 2 || number >= t.meta.pages {
		return errDamaged("page %d is out of range", number)
	}
	if t.used[number] {
		return errDamaged("page %d is used twice", number)
	}
	t.used[number] = true
	return nil
}

func (t *trees) useFreelist() error {
	page, ids, err := readFreelist(t.file, t.meta)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.useOne(id); err != nil {
			return err
		}
	}
	return t.use(t.meta.freelist, page)
}

// follow goes through the tree of one bucket, level by level. All leaf pages of a
// tree are on one level, so that one of them tells of which kind the others are.
func (t *trees) follow(root uint64) error {
	for level := []uint64{root}; ; {
		leaf, err := t.isLeaf(level[0])
		if err != nil {
			return err
		}
		var next []uint64
		for _, number := range level {
			if leaf {
				err = t.useOne(number)
			} else {
				next, err = t.branch(next, number)
			}
			if err != nil {
				return err
			}
		}
		if leaf {
			return nil
		}
		level = next
	}
}

func (t *trees) isLeaf(number uint64) (bool, error) {
	if _, err := readPage(t.file, t.meta, number, leafFlag); err == nil {
		return true, nil
	}
	_, err := readPage(t.file, t.meta, number, branchFlag)
	return false, err
}

// branch appends the pages that a branch page leads to.
func (t *trees) branch(next []uint64, number uint64) ([]uint64, error) {
	page, err := readPage(t.file, t.meta, number, branchFlag)
	if err != nil {
		return nil, err
	}
	if err := t.use(number, page); err != nil {
		return nil, err
	}
	targets, ok := branchTargets(page)
	if !ok {
		return nil, errDamaged("page %d isn't what it should be", number)
	}
	return append(next, targets...), nil
}
