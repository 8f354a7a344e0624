package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
)

// ErrOther is returned by [Replay] for the journal of another store, or of another state
// of the store: its entries were saved already, or belong elsewhere.
var ErrOther = errors.New("the journal belongs to another store, or to an earlier state of this one")

// Replay calls each with every entry that the file at path holds behind a position, which
// are those that were not saved. ring and at say where the entry is. The file is not
// changed. A missing file is fs.ErrNotExist.
//
// Bytes that are no entry are skipped: after a kill the last entry may be incomplete, and
// after a power cut any of them.
func Replay(path string, id uint64, from Position, each func(ring int, at uint64, entry []byte)) error {
	content, err := read(path)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(content[len(fileMagic):]) != id {
		return ErrOther
	}
	for i := range Rings {
		memory := content[fileHeaderSize+i*ringSize:][:ringSize]
		for offset := uint64(0); offset < ringSize; {
			entry, at, size := entryAt(memory, offset)
			if entry != nil && at >= from[i] {
				each(i, at, entry)
			}
			offset += size
		}
	}
	return nil
}

// entryAt returns the entry at an offset of a ring, or nil if there is none, and the least
// distance to the next one.
func entryAt(memory []byte, offset uint64) (entry []byte, at, size uint64) {
	b := memory[offset:]
	length, at := uint64(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint64(b[8:])
	end := headerSize + length
	if length == skipLength {
		end = headerSize
	}
	if at%ringSize != offset || end > uint64(len(b)) || end > headerSize+MaxEntry ||
		binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:end], castagnoli) {
		return nil, 0, alignment
	}
	if length == skipLength {
		return nil, at, uint64(len(b))
	}
	return b[headerSize:end], at, entrySize(int(length))
}

// read returns the content of a journal's file.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	content := make([]byte, fileSize)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// A file that was cut off has zeros where entries were.
	n, err := file.ReadAt(content, 0)
	if n < fileHeaderSize && err != nil && !isEnd(err) {
		return nil, err
	}
	if n < fileHeaderSize || string(content[:len(fileMagic)]) != fileMagic {
		return nil, fmt.Errorf("%w: %s does not begin as a journal does", ErrOther, path)
	}
	if err != nil && !isEnd(err) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}
