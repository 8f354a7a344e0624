package bolt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// agedStore is a store that has been in use for several days. It has free pages, an audit log,
// and changed and deleted tokens with usage. It is saved in a directory, where other processes
// can read it.
type agedStore struct {
	dir string

	PageSize int
	Time     time.Time
	// Live lists the pages in use, including overflow pages. Branches lists the branch pages.
	Live, Branches []int
	// Images is the number of file images, one per recent transaction. The last image is the
	// file's current content.
	Images int
	// Older is the model of a backup taken before many of the changes.
	Older *backendtest.Model
	// Killed is the model at the time the last image and the journal were copied.
	Killed *backendtest.Model
}

const (
	agedTokens  = 300
	agedDeleted = 200
	agedDays    = 4
	agedImages  = 24

	olderName   = "older.db"
	journalName = "killed.journal"
	agedName    = "aged.json"
)

func byID(a, b *backendtest.ModelToken) int { return strings.Compare(a.ID, b.ID) }

func imageName(i int) string { return fmt.Sprintf("%d.db", i) }

// makeAged creates an aged store in dir, unless one already exists.
func makeAged(t testing.TB, dir string, pageSize int) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, agedName)); err == nil {
		return
	}
	check(t, os.MkdirAll(dir, 0o700))
	path := filepath.Join(dir, "tokens.db")
	makeStore(t, path, pageSize, storeFormat.createSchema)
	b := mustOpen(t, path)
	b.current.Load().db.NoSync = true // these changes don't need to survive a power cut
	l := &agedStore{dir: dir, PageSize: pageSize, Time: testTime.AddDate(0, 0, agedDays)}
	var days atomic.Int32
	s, err := tokenstore.Open(b, tokenstore.Options{
		Clock:         tokenstore.ClockFunc(func() time.Time { return testTime.AddDate(0, 0, int(days.Load())) }),
		FlushInterval: -1,
	})
	check(t, err)
	random := rand.New(rand.NewPCG(7, uint64(pageSize)))
	m := &backendtest.Model{}
	var found []backendtest.Violation
	for range agedTokens + agedDeleted {
		found = append(found, m.Create(s, random)...)
	}
	for day := range agedDays {
		days.Add(1)
		for _, token := range m.Tokens {
			found = append(found, m.Use(s, token, random)...)
		}
		found = append(append(found, m.Flush(s)...), m.Work(s, random, 150)...)
		if day == agedDays/2 {
			// This frees enough pages that the file stops growing.
			for _, token := range slices.SortedFunc(slices.Values(m.Tokens), byID)[agedTokens:] {
				found = append(found, m.Delete(s, token)...)
			}
			l.Older = cloneModel(t, m)
			check(t, os.Rename(saveBackup(t, s), filepath.Join(dir, olderName)))
		}
	}
	for l.Images < agedImages {
		found = append(found, m.Work(s, random, 1)...)
		l.addImage(t, path)
	}
	l.Killed = m
	journal, err := os.ReadFile(path + journalSuffix)
	check(t, errors.Join(err, os.WriteFile(filepath.Join(dir, journalName), journal, fileMode)))
	for _, violation := range append(found, m.Check(s)...) {
		t.Errorf("creating the aged store: got violation %+v", violation)
	}
	check(t, s.Close())
	check(t, errors.Join(os.Remove(path)))
	l.findPages(t)
	text, err := json.Marshal(l)
	check(t, errors.Join(err, os.WriteFile(filepath.Join(dir, agedName), text, fileMode)))
}

// addImage adds an image of the file unless the file is unchanged since the last image.
func (l *agedStore) addImage(t testing.TB, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	check(t, err)
	if l.Images == 0 || string(raw) != string(l.image(l.Images-1)) {
		check(t, os.WriteFile(filepath.Join(l.dir, imageName(l.Images)), raw, fileMode))
		l.Images++
	}
}

// findPages sets Live and Branches.
func (l *agedStore) findPages(t testing.TB) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(l.dir, imageName(l.Images-1)), fileMode,
		&bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	check(t, err)
	check(t, errors.Join(db.View(func(tx *bbolt.Tx) error {
		for number := 0; number < int(tx.Size())/l.PageSize; {
			info, err := tx.Page(number)
			if err != nil {
				return err
			}
			if info.Type == "branch" {
				l.Branches = append(l.Branches, number)
			}
			for i := range info.OverflowCount + 1 {
				if info.Type != "free" {
					l.Live = append(l.Live, number+i)
				}
			}
			number += info.OverflowCount + 1
		}
		return nil
	}), db.Close()))
}

// readAged reads a store created by makeAged.
func readAged(dir string) (*agedStore, error) {
	text, err := os.ReadFile(filepath.Join(dir, agedName))
	if err != nil {
		return nil, err
	}
	l := &agedStore{dir: dir}
	return l, json.Unmarshal(text, l)
}

// image returns the i-th image of the file.
func (l *agedStore) image(i int) []byte { return l.read(imageName(i)) }

func (l *agedStore) read(name string) []byte {
	raw, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		panic(err)
	}
	return raw
}

// page returns a page of a file. The result is shorter, or empty, if the file ends before the
// page does.
func (l *agedStore) page(raw []byte, number int) []byte {
	begin := min(number*l.PageSize, len(raw))
	return raw[begin:min(begin+l.PageSize, len(raw))]
}

// branchTargets returns the offsets of the page numbers in a branch page.
func branchTargets(page []byte) (offsets []int) {
	const header, element, number = 16, 16, 8
	for i := range int(binary.NativeEndian.Uint16(page[10:])) {
		if offset := header + i*element + number; offset+8 <= len(page) {
			offsets = append(offsets, offset)
		}
	}
	return offsets
}
