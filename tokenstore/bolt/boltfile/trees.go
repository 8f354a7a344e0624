package boltfile

// CheckTrees follows the page numbers in a file that nobody has written to since
// it was read, and returns [ErrDamaged] if one of them is wrong. bbolt follows them without looking where they lead: one that leads
// back to its own page, as a single flipped bit can make it, ends the process with
// a stack overflow that nobody can catch.
//
// A page belongs to one place: the free list, or one branch page, or the root. So
// a wrong number is noticed because its page is used twice, without the leaf pages,
// which are nearly all of the file, being read.
func (f *File) CheckTrees() error {
	t := &trees{pages: f.pages, used: make([]bool, f.pages.meta.pages)}
	for _, number := range f.free.free {
		if err := t.useOne(number); err != nil {
			return err
		}
	}
	if err := t.use(f.free.page); err != nil {
		return err
	}
	for _, p := range f.root {
		if err := t.use(p); err != nil {
			return err
		}
	}
	for _, p := range f.root {
		if byteOrder.Uint16(p.content[8:]) != leafFlag {
			continue
		}
		if err := t.followBuckets(p.content); err != nil {
			return err
		}
	}
	return nil
}

// trees are the pages of a file by their use.
type trees struct {
	pages
	used []bool
}

// use notes that a page is used.
func (t *trees) use(p page) error {
	for i := range uint64(len(p.content)) / uint64(t.meta.pageSize) {
		if err := t.useOne(p.number + i); err != nil {
			return err
		}
	}
	return nil
}

func (t *trees) useOne(number uint64) error {
	if number < 2 || number >= t.meta.pages {
		return damaged("page %d is out of range", number)
	}
	if t.used[number] {
		return damaged("page %d is used twice", number)
	}
	t.used[number] = true
	return nil
}

// followBuckets goes through the buckets that a leaf page of the root has.
func (t *trees) followBuckets(leaf []byte) error {
	elements, ok := leafElements(leaf)
	if !ok {
		return damaged("its root page isn't what it should be")
	}
	for _, e := range elements {
		if e.flags != bucketFlag || len(e.value) < bucketLength {
			return damaged("an entry of its root page is no bucket")
		}
		if root := byteOrder.Uint64(e.value); root != 0 { // else the bucket is in the entry
			if err := t.follow(root); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow goes through the tree of one bucket, level by level. All leaf pages of a
// tree are on one level, so that one of them tells of which kind the others are.
func (t *trees) follow(root uint64) error {
	for level := []uint64{root}; ; {
		leaf, err := t.leaf(level[0])
		if err != nil {
			return err
		}
		var next []uint64
		for _, number := range level {
			if leaf {
				err = t.useOne(number)
			} else {
				next, err = t.useBranch(next, number)
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

// useBranch notes that a branch page is used and appends the pages it leads to.
func (t *trees) useBranch(next []uint64, number uint64) ([]uint64, error) {
	branch, targets, err := t.branch(number)
	if err != nil {
		return nil, err
	}
	return append(next, targets...), t.use(branch)
}
