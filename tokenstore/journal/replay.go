package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// ErrOther is returned by [Replay] for a journal that belongs to another store or to an
// earlier state of this one. Its entries have already been saved or belong elsewhere.
var ErrOther = errors.New("the journal belongs to another store, or to an earlier state of this one")

// Inspect returns the identity of the store that the file at path belongs to and the number
// stored by [Journal.Mark]. Both are 0 if they were never stored or if the file is damaged or
// not a journal. If there is no file, the error is fs.ErrNotExist.
func Inspect(path string) (store, mark uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	header := make([]byte, fileMarkOffset+8)
	if _, err := io.ReadFull(file, header); err != nil || string(header[:len(fileMagic)]) != fileMagic {
		return 0, 0, nil //nolint:nilerr // Replay will report it
	}
	return binary.LittleEndian.Uint64(header[len(fileMagic)+8:]), binary.LittleEndian.Uint64(header[fileMarkOffset:]),
		nil
}

// Replay calls each for every unsaved entry in the file at path, that is, every entry whose
// position is after from. ring and at are the entry's position. Replay doesn't change the
// file. If there is no file, the error is fs.ErrNotExist.
//
// Replay skips bytes that don't belong to an entry. It returns the number of damaged entries
// it detected: a kill can damage the last entry, and a power failure can damage any entry.
func Replay(path string, id uint64, from Position, each func(ring int, at uint64, entry []byte)) (damaged int,
	err error) {
	content, err := read(path)
	if err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint64(content[len(fileMagic):]) != id {
		return 0, ErrOther
	}
	for i := range Rings {
		memory := content[fileHeaderSize+i*ringSize:][:ringSize]
		for offset := uint64(0); offset < ringSize; {
			entry, at, size := entryAt(memory, offset)
			switch unsaved := at >= from[i] && at%ringSize == offset; {
			case entry != nil && unsaved:
				each(i, at, entry)
			case size == 0 && unsaved && at < from[i]+ringSize && at > 0:
				damaged++
			}
			size = max(size, alignment)
			offset += size
		}
	}
	return damaged, nil
}

// entryAt returns the entry at an offset in a ring, or nil if there is none. at is the
// position in the entry's header, and size is the distance to the next entry, or 0 if unknown.
func entryAt(memory []byte, offset uint64) (entry []byte, at, size uint64) {
	b := memory[offset:]
	length, at := uint64(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint64(b[8:])
	end := headerSize + length
	if length == skipLength {
		end = headerSize
	}
	if at%ringSize != offset || end > uint64(len(b)) || end > headerSize+MaxEntry ||
		binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:end], castagnoli) {
		return nil, at, 0
	}
	if length == skipLength {
		return nil, at, uint64(len(b))
	}
	return b[headerSize:end], at, entrySize(int(length))
}

// read returns the content of a journal file.
func read(path string) ([]byte, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content := make([]byte, fileSize) // zeros where the file has been truncated
	if _, err := io.ReadFull(file, content); err != nil && !isEnd(err) {
		return nil, err
	}
	if string(content[:len(fileMagic)]) != fileMagic {
		return nil, ErrOther
	}
	return content, nil
}

// checkFile returns an error unless the file at path is a journal, possibly truncated.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file: move it away", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	begin := make([]byte, len(fileMagic))
	if _, err := io.ReadFull(file, begin); err != nil && !isEnd(err) {
		return err
	}
	if string(begin) != fileMagic && !bytes.Equal(begin, make([]byte, len(fileMagic))) {
		return fmt.Errorf("%s is not a usage journal: move it away", path)
	}
	return nil
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
