package bolt

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Lengths in bbolt's file format.
const pageHeaderLength, metaLength = 16, 64

// edited applies edits to the content of a store's file and truncates it to size. An edit
// consists of a two-byte offset and the new byte.
func edited(whole, edit []byte, size uint32) []byte {
	content := bytes.Clone(whole)
	for ; len(edit) >= 3; edit = edit[3:] {
		content[int(binary.BigEndian.Uint16(edit))%len(content)] = edit[2]
	}
	if n := int(size % uint32(2*len(whole))); n < len(content) {
		return content[:n]
	}
	return content
}

// setChecksums sets correct checksums in the meta pages.
func setChecksums(content []byte, pageSize int) {
	for offset := 0; offset <= pageSize; offset += pageSize {
		if meta := offset + pageHeaderLength; meta+metaLength <= len(content) {
			sum := fnv.New64a()
			_, _ = sum.Write(content[meta : meta+56])
			binary.NativeEndian.PutUint64(content[meta+56:], sum.Sum64())
		}
	}
}

// FuzzInspect edits a store's file and inspects it. This must not crash the process or change
// the file, and Open must succeed if the file is found to be sound.
func FuzzInspect(f *testing.F) {
	const pageSize = 1024
	path := newPath(f)
	makeStore(f, path, pageSize, storeFormat.createSchema)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	all := uint32(len(whole))
	at := func(offset int, b ...byte) (edit []byte) {
		for i, c := range b {
			edit = append(binary.BigEndian.AppendUint16(edit, uint16(offset+i)), c)
		}
		return edit
	}
	const meta0, meta1 = pageHeaderLength, pageSize + pageHeaderLength
	for _, edit := range [][]byte{
		nil,
		at(meta0+8, 0, 0, 1, 0),       // page size of 64 KiB
		at(meta1+8, 0, 0, 0, 0x80),    // page size of 2 GiB
		at(meta0+16, 0xff, 0xff),      // root page
		at(meta1+16, 0, 0, 0, 0, 255), // root page
		at(meta0+32, 255, 255, 255, 255, 255, 255, 255, 255), // no free list
		at(meta1+32, 1),      // free list in a meta page
		at(meta0+40, 255, 1), // pages
		at(meta1+48, 255),    // transaction
		at(2*pageSize+8, 0x10, 0, 0xff, 0xff, 255, 255, 255, 255),                         // a full free list
		at(3*pageSize+8, 0x02, 0, 0xff, 0xff),                                             // a full leaf
		at(4*pageSize+8, 0x02, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 1), // invalid positions
	} {
		f.Add(edit, all, true)
		f.Add(edit, all, false)
		f.Add(edit, uint32(5*pageSize-1), true)
	}
	for _, key := range append(slices.Clone(metaKeys), formatKey, versionKey, transactionKey) {
		for offset := range whole {
			if bytes.HasPrefix(whole[offset:], key) { // edit the key and the value
				f.Add(at(offset+len(key)-1, 'x'), all, true)
				f.Add(at(offset+len(key), 0xff, 0xff), all, true)
			}
		}
	}
	f.Add([]byte(nil), uint32(0), false)
	f.Add([]byte(nil), uint32(79), false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, edit []byte, size uint32, right bool) {
		content := edited(whole, edit, size)
		if right {
			setChecksums(content, pageSize)
		}
		file, err := boltfile.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil || storeFormat.inspectSchema(file) != nil {
			return
		}
		path := filepath.Join(dir, "tokens.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		defer removeKept(t, path)
		if err := Inspect(path); err != nil {
			t.Fatalf("Inspect: got err %v", err)
		}
		sound := len(storeFormat.structureFaults(file.Verify(rootAge(file)))) == 0
		if _, err := Check(path); err != nil && sound {
			t.Fatalf("Check of a sound file: %v", err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(after, content) {
			t.Fatal("Inspect or Check changed the file")
		}
		// Whatever the file contains, Open must return.
		if b, err := Open(path); err == nil {
			_ = b.Close()
			if report, err := Check(path); err != nil || len(report.Problems) > 0 {
				t.Fatalf("Check after Open: got problems %v, err %v, want none", report.Problems, err)
			}
		} else if sound {
			t.Fatalf("Open of a sound file: %v", err)
		}
	})
}
