package bolt

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
)

// damageKind is a kind of damage to a file.
type damageKind struct {
	name string
	// do damages the file.
	do func(*damageTarget)
	// open is set if the file is damaged while a store has it open.
	open bool
	// older is set if the file is replaced by an older version without the later changes.
	older bool
}

// damageTarget is a file to damage.
type damageTarget struct {
	*agedStore
	*rand.Rand
	path string
	raw  []byte // file content, which do may replace
}

const sectorSize = 512

var damageKinds = []damageKind{
	{name: "bit flip", do: flipBit},
	{name: "zeroed sector", do: zeroSector},
	{name: "stale sector", do: staleSector},
	{name: "lost page write", do: losePage},
	{name: "misdirected page write", do: misdirectPage},
	{name: "garbage pages", do: garbagePages},
	{name: "circular pointers", do: circlePointers},
	{name: "truncated file", do: truncateFile},
	{name: "older file, newer journal", do: olderFile, older: true},
	{name: "copied over while open (cp)", do: copyOver, open: true, older: true},
	{name: "copied over while open (rsync)", do: copyInPlace, open: true, older: true},
}

// livePage returns a random page that is in use.
func (d *damageTarget) livePage() int { return d.Live[d.IntN(len(d.Live))] }

// liveSector returns the bounds of a random sector in a page that is in use.
func (d *damageTarget) liveSector() (begin, end int) {
	begin = d.livePage()*d.PageSize + d.IntN(d.PageSize/sectorSize)*sectorSize
	return begin, begin + sectorSize
}

func flipBit(d *damageTarget) {
	d.raw[d.livePage()*d.PageSize+d.IntN(d.PageSize)] ^= 1 << d.IntN(8)
}

func zeroSector(d *damageTarget) {
	for {
		begin, end := d.liveSector()
		if sector := d.raw[begin:end]; !bytes.Equal(sector, make([]byte, sectorSize)) {
			clear(sector)
			return
		}
	}
}

// staleSector restores a sector's earlier content.
func staleSector(d *damageTarget) {
	for {
		begin, end := d.liveSector()
		image := d.image(d.IntN(d.Images - 1))
		if d.IntN(3) == 0 {
			image = d.read(olderName)
		}
		if end <= len(image) && !bytes.Equal(image[begin:end], d.raw[begin:end]) {
			copy(d.raw[begin:end], image[begin:end])
			return
		}
	}
}

// lastWrites returns a page, other than a meta page, that one of the last transactions wrote
// and that hasn't changed since, and its content before that transaction.
func (d *damageTarget) lastWrites() (number int, former []byte) {
	for {
		i := 1 + d.IntN(d.Images-1)
		before, after := d.image(i-1), d.image(i)
		var written []int
		for _, page := range d.Live {
			now := d.page(d.raw, page)
			if page > 1 && bytes.Equal(now, d.page(after, page)) && !bytes.Equal(now, d.page(before, page)) {
				written = append(written, page)
			}
		}
		if len(written) == 0 {
			continue
		}
		number = written[d.IntN(len(written))]
		former = make([]byte, d.PageSize) // zeros past the end of the earlier file
		copy(former, d.page(before, number))
		return number, former
	}
}

func losePage(d *damageTarget) {
	number, former := d.lastWrites()
	copy(d.page(d.raw, number), former)
}

// misdirectPage writes a page to another page's position.
func misdirectPage(d *damageTarget) {
	number, former := d.lastWrites()
	target := d.livePage()
	if d.IntN(4) == 0 {
		target = d.IntN(len(d.raw) / d.PageSize)
	}
	copy(d.page(d.raw, target), d.page(d.raw, number))
	if target != number {
		copy(d.page(d.raw, number), former)
	}
}

func garbagePages(d *damageTarget) {
	for range 1 + d.IntN(3) {
		page := d.page(d.raw, d.livePage())
		for i := range page {
			page[i] = byte(d.Uint32())
		}
	}
}

// circlePointers makes branch pages refer to other branch pages or to themselves.
func circlePointers(d *damageTarget) {
	for range 1 + d.IntN(2) {
		page := d.page(d.raw, d.Branches[d.IntN(len(d.Branches))])
		offsets := branchTargets(page)
		target := d.Branches[d.IntN(len(d.Branches))]
		if d.IntN(4) == 0 {
			target = d.livePage()
		}
		binary.NativeEndian.PutUint64(page[offsets[d.IntN(len(offsets))]:], uint64(target))
	}
}

func truncateFile(d *damageTarget) {
	size := d.IntN(len(d.raw))
	if d.IntN(2) == 0 {
		size -= size % d.PageSize
	}
	d.raw = d.raw[:size]
}

func olderFile(d *damageTarget) { d.raw = d.read(olderName) }

// copyOver does what cp does: it truncates the file and rewrites it.
func copyOver(d *damageTarget) {
	must(os.WriteFile(d.path, d.read(olderName), fileMode))
}

// copyInPlace does what rsync --inplace does: it overwrites the file and then truncates it.
func copyInPlace(d *damageTarget) {
	raw := d.read(olderName)
	file, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	must(err)
	defer file.Close()
	_, err = file.WriteAt(raw, 0)
	must(err)
	must(file.Truncate(int64(len(raw))))
}

// must panics if an operation that is not under test fails in a child.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
