package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// Note returns the note of the last [Update] that had one, or nil if there is none. It was
// written in the same transaction as the changes that it describes. A damaged note counts as
// none. complete is false if the file was damaged and rebuilt, so that the replica may lack
// records that the note counts on.
func (r *Replica) Note() (note []byte, complete bool, err error) {
	err = r.view(func(tx *bbolt.Tx) error {
		note, complete = nil, true
		if bucket := tx.Bucket(noteBucket); bucket != nil {
			note, _ = decodeNote(bucket.Get(noteKey))
			complete = !has(bucket, incompleteKey)
		}
		return nil
	})
	return note, complete, err
}

// putNote replaces the note unless it is nil. If complete is set, no records are missing any
// more.
func putNote(tx *bbolt.Tx, note []byte, complete bool) error {
	if note == nil && !complete {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(noteBucket)
	if err != nil {
		return err
	}
	if complete {
		if err := bucket.Delete(incompleteKey); err != nil {
			return err
		}
	}
	if note == nil {
		return nil
	}
	return bucket.Put(noteKey, binary.BigEndian.AppendUint32(bytes.Clone(note), crc32.ChecksumIEEE(note)))
}

// validNote reports whether an entry of the note bucket is valid.
func validNote(key, record []byte) bool {
	if bytes.Equal(key, incompleteKey) {
		return true
	}
	_, err := decodeNote(record)
	return err == nil && bytes.Equal(key, noteKey)
}

// decodeNote returns a copy of the note in a record.
func decodeNote(record []byte) ([]byte, error) {
	n := len(record) - crc32.Size
	if n < 0 || binary.BigEndian.Uint32(record[n:]) != crc32.ChecksumIEEE(record[:n]) {
		return nil, errors.New("the record is damaged")
	}
	return append(make([]byte, 0, n), record[:n]...), nil
}
