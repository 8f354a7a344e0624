package boltfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// history returns a file's content after each of several transactions. Each transaction writes
// its number to an entry in each of two buckets.
func history(t *testing.T) (images [][]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true})
	check(t, err)
	check(t, errors.Join(db.Update(bucket("first", 100)), db.Update(bucket("second", 100))))
	for i := range 12 {
		check(t, db.Update(func(tx *bbolt.Tx) (err error) {
			value := binary.BigEndian.AppendUint64(nil, uint64(tx.ID()))
			for _, name := range []string{"first", "second"} {
				b := tx.Bucket([]byte(name))
				err = errors.Join(err, b.Put([]byte("key 0050"), value))
				for k := range i * 5 % 7 { // changes how pages are used
					err = errors.Join(err, b.Put(fmt.Appendf(nil, "key %04d", 15*k), value))
				}
			}
			return err
		}))
		raw, err := os.ReadFile(path)
		check(t, err)
		images = append(images, raw)
	}
	check(t, db.Close())
	return images
}

// outdated calls try with images in which the page returned by numberOf has earlier content of
// the same kind, as if a write had been lost. transaction is the number of the image's last
// transaction.
func outdated(t *testing.T, numberOf func(raw []byte) uint64, try func(raw, transaction []byte)) {
	t.Helper()
	tried := 0
	for range 5 {
		images := history(t)
		for last := len(images) - 1; last > 0; last-- {
			number := numberOf(images[last])
			page := images[last][number*pageSize:][:pageSize]
			for i := range last {
				if int(number+1)*pageSize > len(images[i]) {
					continue // the file was shorter at the time
				}
				earlier := images[i][number*pageSize:][:pageSize]
				if bytes.Equal(earlier, page) || !bytes.Equal(earlier[:10], page[:10]) {
					continue
				}
				raw := bytes.Clone(images[last])
				copy(raw[number*pageSize:], earlier)
				_, _, transaction := newestMeta(raw)
				try(raw, transaction)
				tried++
			}
		}
	}
	if tried == 0 {
		t.Error("no page had earlier content of the same kind")
	}
}

// value returns the value that each transaction of history changes.
func value(t *testing.T, s *boltfile.Structure, name string) []byte {
	t.Helper()
	var err error
	for key, value := range s.Entries(name, &err) {
		if string(key) == "key 0050" {
			return bytes.Clone(value)
		}
	}
	t.Fatalf("%s: no entry found, err %v", name, err)
	return nil
}

// newestMeta returns the page numbers of the root and of the list of free pages, and the
// number of the last transaction, encoded as in the entries.
func newestMeta(raw []byte) (root, freelist uint64, transaction []byte) {
	at := 0
	transactionOf := func(page int) uint64 { return binary.NativeEndian.Uint64(raw[page+metaTransactions:]) }
	if transactionOf(pageSize) > transactionOf(0) {
		at = pageSize
	}
	transaction = binary.BigEndian.AppendUint64(nil, binary.NativeEndian.Uint64(raw[at+metaTransactions:]))
	return binary.NativeEndian.Uint64(raw[at+metaRoot:]), binary.NativeEndian.Uint64(raw[at+metaFreelist:]), transaction
}

// TestOutdatedFreelist verifies that an outdated list of free pages doesn't affect the buckets
// if the root page is current: they have the last transaction's values.
func TestOutdatedFreelist(t *testing.T) {
	t.Parallel()
	freelist := func(raw []byte) uint64 {
		_, freelist, _ := newestMeta(raw)
		return freelist
	}
	outdated(t, freelist, func(raw, want []byte) {
		f, err := read(raw)
		check(t, err)
		s := f.Verify(boltfile.RootCurrent)
		if s.Sound() {
			t.Error("the fault was not detected")
		}
		for _, name := range []string{"first", "second"} {
			if !s.BucketSound(name) || !bytes.Equal(value(t, s, name), want) {
				t.Errorf("%s doesn't have the last value written", name)
			}
		}
	})
}

// TestOutdatedRoot verifies that pages referenced by an outdated root page are ignored and
// that the last transaction's entries are salvaged.
func TestOutdatedRoot(t *testing.T) {
	t.Parallel()
	root := func(raw []byte) uint64 {
		root, _, _ := newestMeta(raw)
		return root
	}
	outdated(t, root, func(raw, want []byte) {
		f, err := read(raw)
		check(t, err)
		s := f.Verify(boltfile.RootOutdated)
		if s.Sound() || s.BucketSound("first") || s.BucketSound("second") {
			t.Error("the structure or a bucket was reported as sound")
		}
		if got := salvaged(s); len(got) != 1 || !got[string(want)] {
			t.Errorf("salvaged %v, want %q", got, want)
		}
	})
}

// salvaged returns all salvaged values for the entry that each transaction of history changes.
func salvaged(s *boltfile.Structure) map[string]bool {
	values := make(map[string]bool)
	for key, value := range s.Salvage() {
		if string(key) == "key 0050" {
			values[string(value)] = true
		}
	}
	return values
}
