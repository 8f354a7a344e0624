package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// add appends an entry. If the journal is full, it reads the journal first.
func add(j *Journal, entry []byte, read func([]byte)) {
	for {
		if w, ok := j.Begin(len(entry)); ok {
			copy(w.Bytes, entry)
			w.End()
			return
		}
		j.Read(read)
	}
}

// numbered returns an entry of the given length that starts with n.
func numbered(n uint64, length int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, max(length, 8))
	binary.LittleEndian.PutUint64(b, n)
	return b
}

// replayed returns how often each number occurs in the file after a position.
func replayed(t testing.TB, path string, id uint64, from Position) map[uint64]int {
	t.Helper()
	counts := make(map[uint64]int)
	_, err := Replay(path, id, from, func(_ int, _ uint64, entry []byte) {
		n := binary.LittleEndian.Uint64(entry)
		if !bytes.Equal(entry, numbered(n, len(entry))) {
			t.Errorf("entry %d has unexpected content %x", n, entry)
		}
		counts[n]++
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestJournal fills the rings many times over. It verifies that every entry is read once and
// that the file contains all entries after the saved position.
func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := New()
	random := rand.New(rand.NewPCG(1, 2))
	var next uint64
	unread, unsaved := make(map[uint64]int), make(map[uint64]int)
	read := func(entry []byte) {
		if n := binary.LittleEndian.Uint64(entry); unread[n] != 1 {
			t.Fatalf("entry %d was read more than once", n)
		} else {
			delete(unread, n)
		}
	}
	for round := range 60 {
		for range random.IntN(3000) {
			entry := numbered(next, random.IntN(600))
			add(j, entry, read)
			unread[next]++
			unsaved[next]++
			next++
		}
		if round == 0 {
			if err := j.Keep(path, 7, 0); err != nil {
				t.Fatal(err)
			}
		}
		from := Position{}
		for i := range j.rings {
			from[i] = j.rings[i].saved.Load()
		}
		if got := replayed(t, path, 7, from); len(got) != len(unsaved) {
			t.Fatalf("round %d: the file has %d entries, want %d", round, len(got), len(unsaved))
		}
		j.Read(read)
		if len(unread) != 0 {
			t.Fatalf("%d entries were not read", len(unread))
		}
		if random.IntN(3) > 0 {
			j.Saved(j.Position())
			clear(unsaved)
		}
		if err := j.Problem(); err != nil {
			t.Fatal(err)
		}
		if round%20 == 19 { // a new file must contain the unsaved entries
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if j.Problem() == nil {
				t.Error("Problem returned nil after the file was removed")
			}
			if err := j.Keep(path, 7, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || len(unsaved) == 0 != (info.Size() == fileHeaderSize) {
		t.Errorf("after Close with %d unsaved entries, the file is %v, %v", len(unsaved), info, err)
	}
}

// TestConcurrentWriters verifies that no entry is lost or mixed up with another.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := New()
	if err := j.Keep(path, 1, 0); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 3000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				add(j, numbered(uint64(w*each+i), 100), func([]byte) { t.Error("full") })
			}
		})
	}
	all.Wait()
	got := replayed(t, path, 1, Position{})
	if len(got) != writers*each {
		t.Errorf("the file has %d entries, want %d", len(got), writers*each)
	}
	for n, times := range got {
		if times != 1 {
			t.Fatalf("entry %d is in the file %d times, want once", n, times)
		}
	}
}

// TestDamage verifies that a flipped bit damages only the entry that contains it.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := New()
	if err := j.Keep(path, 1, 0); err != nil {
		t.Fatal(err)
	}
	const entries = 200
	for n := range uint64(entries) {
		add(j, numbered(n, 60), nil)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := j.rings[2].written.Load()
	random := rand.New(rand.NewPCG(3, 4))
	detected := 0
	for range 60 {
		content := bytes.Clone(whole)
		at := fileHeaderSize + 2*ringSize + random.IntN(int(end))
		content[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := replayed(t, path, 1, Position{}); len(got) < entries-1 {
			t.Errorf("after flipping a bit at %d, only %d of %d entries can be read", at, len(got), entries)
		}
		damaged, err := Replay(path, 1, Position{}, func(int, uint64, []byte) {})
		if detected += damaged; err != nil || damaged > 1 {
			t.Errorf("after flipping a bit at %d, Replay reported %d damaged entries and error %v", at, damaged, err)
		}
	}
	if detected < 30 {
		t.Errorf("detected only %d of 60 damaged entries", detected)
	}
	// In a truncated file, the entries before the cut can be read.
	if err := os.Truncate(path, int64(fileHeaderSize+ringSize+100)); err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, path, 1, Position{}); len(got) == 0 || len(got) >= entries {
		t.Errorf("read %d of %d entries from a truncated file", len(got), entries)
	}
	for name, content := range map[string][]byte{"empty": nil, "zeros": make([]byte, 100)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Replay(path, 1, Position{}, nil); !errors.Is(err, ErrOther) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A file that isn't a journal is not replaced.
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(path, 1, Position{}, nil); err == nil || errors.Is(err, ErrOther) {
		t.Errorf("replaying a file that isn't a journal: got error %v", err)
	}
	if err := j.Keep(path, 1, 0); err == nil {
		t.Error("Keep replaced a file that isn't a journal")
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(path, 2, Position{}, nil); !errors.Is(err, ErrOther) {
		t.Errorf("replaying another store's journal: got error %v, want ErrOther", err)
	}
}

// TestIntact verifies that no damage is reported for an undamaged journal, wherever the last
// entry of a ring ends. Entries near a ring's end are short, so the remaining space is often
// exactly one header.
func TestIntact(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		path := filepath.Join(t.TempDir(), "journal")
		j := New()
		if err := j.Keep(path, 1, 0); err != nil {
			t.Fatal(err)
		}
		// fill appends entries until all rings are written up to end.
		fill := func(end uint64, longest int) (entries int) {
			for i := range j.rings {
				for j.rings[i].written.Load() < end {
					add(j, numbered(uint64(entries), random.IntN(longest)), func([]byte) {})
					entries++
				}
			}
			return entries
		}
		for end := uint64(ringSize); end <= 2*ringSize; end += ringSize {
			fill(end-ringSize/8, 600)
			j.Read(func([]byte) {})
			saved := j.Position()
			j.Saved(saved)
			unsaved := fill(end+1, 32)
			replayed := 0
			damaged, err := Replay(path, 1, saved, func(int, uint64, []byte) { replayed++ })
			if damaged != 0 || replayed != unsaved || err != nil {
				t.Fatalf("replayed %d of %d entries, %d reported as damaged, error %v", replayed, unsaved, damaged, err)
			}
		}
	}
}

// FuzzReplay verifies that replaying any ring terminates and doesn't read outside it.
func FuzzReplay(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	j := New()
	if err := j.Keep(path, 1, 0); err != nil {
		f.Fatal(err)
	}
	for n := range uint64(50) {
		add(j, numbered(n, 50), nil)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content[fileHeaderSize:][:2000])
	f.Fuzz(func(t *testing.T, ring []byte) {
		memory := make([]byte, entrySize(min(len(ring), ringSize-headerSize)))
		copy(memory, ring)
		for offset := uint64(0); offset < uint64(len(memory)); {
			entry, at, size := entryAt(memory, offset)
			if size%alignment != 0 || len(entry) > MaxEntry || entry != nil && at%ringSize != offset {
				t.Fatalf("at %d: invalid entry of %d bytes at position %d, size %d", offset, len(entry), at, size)
			}
			offset += max(size, alignment)
		}
	})
}

// BenchmarkAppend measures appending an entry of typical length.
func BenchmarkAppend(b *testing.B) {
	j := New()
	if err := j.Keep(filepath.Join(b.TempDir(), "journal"), 1, 0); err != nil {
		b.Fatal(err)
	}
	entry := numbered(1, 110)
	var mu sync.Mutex
	read := func() {
		mu.Lock()
		defer mu.Unlock()
		j.Read(func([]byte) {})
		j.Saved(j.Position())
	}
	for name, run := range map[string]func(b *testing.B, f func()){
		"one": func(b *testing.B, f func()) {
			for b.Loop() {
				f()
			}
		},
		"parallel": func(b *testing.B, f func()) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					f()
				}
			})
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			run(b, func() {
				for {
					if w, ok := j.Begin(len(entry)); ok {
						copy(w.Bytes, entry)
						w.End()
						return
					}
					read()
				}
			})
		})
	}
}
