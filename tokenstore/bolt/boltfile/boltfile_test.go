package boltfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

const pageSize = 1024

// Offsets of fields in a meta page, including the page header.
const (
	meta             = 16
	metaPageSize     = meta + 8
	metaRoot         = meta + 16
	metaFreelist     = meta + 32
	metaPages        = meta + 40
	metaTransactions = meta + 48
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeFile returns the content of a file created by bbolt.
func makeFile(t testing.TB, options bbolt.Options, fill ...func(*bbolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	options.PageSize = pageSize
	options.NoSync = true
	db, err := bbolt.Open(path, 0o600, &options)
	check(t, err)
	for _, f := range fill {
		check(t, db.Update(f))
	}
	check(t, db.Close())
	raw, err := os.ReadFile(path)
	check(t, err)
	return raw
}

// bucket returns a function that creates a bucket with the given number of 100-byte entries.
func bucket(name string, entries int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		for i := range entries {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "key %04d", i), bytes.Repeat([]byte{byte(i)}, 100)))
		}
		return err
	}
}

func remove(name string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(name)) }
}

func read(raw []byte) (*boltfile.File, error) {
	return boltfile.Read(bytes.NewReader(raw), int64(len(raw)))
}

// verify returns err if it is not nil, and otherwise f's first fault, if any.
func verify(f *boltfile.File, err error) error {
	if err != nil {
		return err
	}
	if faults, _ := f.Verify(boltfile.RootUnknown).Faults(); len(faults) > 0 {
		return fmt.Errorf("%w: %s", boltfile.ErrDamaged, faults[0])
	}
	return nil
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	f, err := read(makeFile(t, bbolt.Options{}, bucket("large", 200), bucket("small", 1), bucket("gone", 1),
		remove("gone")))
	check(t, verify(f, err))
	for name, want := range map[string]bool{"large": true, "small": true, "gone": false, "": false} {
		if f.HasBucket([]byte(name)) != want {
			t.Errorf("HasBucket(%q) returned %v", name, !want)
		}
	}
	for _, c := range []struct {
		bucket, key string
		want        []byte
	}{
		{"small", "key 0000", make([]byte, 100)},
		{"small", "key 0001", nil},
		{"large", "key 0000", nil}, // it has its own pages
		{"gone", "key 0000", nil},
	} {
		if got := f.Get([]byte(c.bucket), []byte(c.key)); !bytes.Equal(got, c.want) {
			t.Errorf("Get(%s, %s): got %q, want %q", c.bucket, c.key, got, c.want)
		}
	}
}

// TestRootOfSeveralPages verifies that a root with several pages can be read. Small buckets
// are stored inside the root and may not fit into a single page.
func TestRootOfSeveralPages(t *testing.T) {
	t.Parallel()
	small := func(n int) (fill []func(*bbolt.Tx) error) {
		for i := range n {
			fill = append(fill, bucket(fmt.Sprint("bucket ", i), 1))
		}
		return fill
	}
	f, err := read(makeFile(t, bbolt.Options{}, small(50)...))
	check(t, verify(f, err))
	for i := range 50 {
		if name := fmt.Appendf(nil, "bucket %d", i); !f.HasBucket(name) || f.Get(name, []byte("key 0000")) == nil {
			t.Errorf("bucket %s was not found", name)
		}
	}
	f, err = read(makeFile(t, bbolt.Options{}, small(1000)...))
	check(t, err)
	if err := f.Err(); !errors.Is(err, boltfile.ErrDamaged) {
		t.Errorf("file with 1000 buckets: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	whole := makeFile(t, bbolt.Options{}, bucket("large", 200), bucket("freed", 200), remove("freed"))
	// newer is the current meta page's offset, and older is the other meta page's offset.
	newer, older := 0, pageSize
	if whole[pageSize+metaTransactions] > whole[metaTransactions] {
		newer, older = older, newer
	}
	freelist := int(whole[newer+metaFreelist]) * pageSize
	flipped := func(offsets ...int) []byte {
		raw := bytes.Clone(whole)
		for _, offset := range offsets {
			raw[offset] ^= 0x10
		}
		return raw
	}
	for name, c := range map[string]struct {
		raw  []byte
		want error
		text string
	}{
		"nothing":            {nil, boltfile.ErrEmpty, ""},
		"text":               {bytes.Repeat([]byte("bbolt\n"), 1000), boltfile.ErrNotBolt, ""},
		"zeros":              {make([]byte, 8*pageSize), boltfile.ErrNotBolt, ""},
		"truncated early":    {whole[:79], boltfile.ErrNotBolt, ""},
		"truncated":          {whole[:3*pageSize], boltfile.ErrDamaged, "pages of 1024 bytes"},
		"older meta damaged": {flipped(older + metaTransactions), boltfile.ErrDamaged, "one of its two meta pages"},
		"newer meta damaged": {flipped(newer + metaTransactions), boltfile.ErrDamaged, "one of its two meta pages"},
		"both metas damaged": {flipped(metaPageSize, pageSize+metaRoot), boltfile.ErrDamaged,
			"neither of its meta pages"},
		"no free list": {makeFile(t, bbolt.Options{NoFreelistSync: true}, bucket("large", 20)),
			boltfile.ErrDamaged, "no list of free pages"},
		"wrong free page": {flipped(freelist + 16), boltfile.ErrDamaged, "list of free pages is out of order"},
		"long free list":  {flipped(freelist + 11), boltfile.ErrDamaged, "list of free pages is too long"},
		"root page": {flipped(int(whole[newer+metaRoot]) * pageSize), boltfile.ErrDamaged,
			"is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := read(c.raw)
			if err == nil {
				err = f.Err()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got err %v, want %v: %s", err, c.want, c.text)
			}
		})
	}
}

// TestWrongBranches makes each branch in a tree refer to every other page in turn.
func TestWrongBranches(t *testing.T) {
	t.Parallel()
	raw := makeFile(t, bbolt.Options{}, bucket("large", 500), bucket("other", 500), remove("other"),
		bucket("other", 20))
	f, err := read(raw)
	check(t, verify(f, err))
	const branchFlag = 1
	branches := 0
	for page := 2 * pageSize; page < len(raw); page += pageSize {
		if raw[page+8] != branchFlag {
			continue
		}
		target := page + 16 + 8
		original := [2]byte(raw[target:])
		tried, refused := 0, 0
		for other := range len(raw) / pageSize {
			binary.NativeEndian.PutUint16(raw[target:], uint16(other))
			if [2]byte(raw[target:]) == original {
				continue
			}
			tried++
			f, err := read(raw)
			if err := verify(f, err); errors.Is(err, boltfile.ErrDamaged) {
				refused++
			} else if err != nil {
				t.Errorf("page %d, made to refer to page %d: got err %v", page/pageSize, other, err)
			}
		}
		copy(raw[target:], original[:])
		// A free page may look like a branch page; its content is irrelevant.
		if refused != 0 && refused != tried {
			t.Errorf("page %d: only %d of %d wrong page numbers were detected", page/pageSize, refused, tried)
		}
		if refused > 0 {
			branches++
		}
	}
	if branches == 0 {
		t.Error("found no branch page")
	}
}

// TestBitFlips flips each bit of a file. Reading the file must not panic. If no damage is
// found, bbolt must be able to open the file; the test tries this with one in 200 of these
// files.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	raw := makeFile(t, bbolt.Options{}, bucket("small", 1), bucket("large", 20), bucket("freed", 20), remove("freed"))
	raw = raw[:int(raw[metaPages])*pageSize]
	path := filepath.Join(t.TempDir(), "test.db")
	step, sound, refused := 1, 0, 0
	if testing.Short() {
		step = 7
	}
	for bit := 0; bit < 8*len(raw); bit += step {
		raw[bit/8] ^= 1 << (bit % 8)
		f, err := read(raw)
		if err == nil {
			f.Get([]byte("small"), []byte("key 0000"))
			err = verify(f, nil)
		}
		switch {
		case errors.Is(err, boltfile.ErrDamaged):
			refused++
		case err != nil:
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		default:
			if sound++; sound%200 != 0 {
				break
			}
			check(t, os.WriteFile(path, raw, 0o600))
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
			if err != nil {
				t.Fatalf("bit %d of byte %d: opening the file with bbolt: %v", bit%8, bit/8, err)
			}
			check(t, db.Close())
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	if sound == 0 || refused == 0 {
		t.Errorf("%d files were sound and %d damaged; want some of each", sound, refused)
	}
}

// TestReadShared reads a file while it is being written continuously.
func TestReadShared(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true, NoGrowSync: true})
	check(t, err)
	check(t, db.Update(bucket("large", 1)))
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	done := make(chan error)
	go func() {
		var err error
		for i := range 300 {
			err = errors.Join(err, db.Update(bucket("large", i)))
		}
		done <- err
	}()
	for {
		if f, err := boltfile.ReadShared(file); err != nil || !f.HasBucket([]byte("large")) {
			t.Errorf("reading during writes: %v", err)
		}
		select {
		case err := <-done:
			check(t, errors.Join(err, db.Close()))
			return
		default:
		}
	}
}
