package bolt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// RecordedTime implements tokenstore.Backend.
func (b *Backend) RecordedTime() (recorded time.Time, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		recorded, err = recordedTime(tx)
		return err
	})
	return recorded, err
}

func recordedTime(tx *bbolt.Tx) (time.Time, error) {
	return decodeTime(tx.Bucket(metaBucket).Get(recordedKey))
}

func decodeTime(value []byte) (time.Time, error) {
	if len(value) != 12 || binary.BigEndian.Uint32(value[8:]) != crc32.ChecksumIEEE(value[:8]) {
		return time.Time{}, errors.New("the recorded time is damaged; restore a backup")
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(value))).UTC(), nil
}

// record keeps the newest time seen.
func record(tx *bbolt.Tx, now time.Time) error {
	recorded, err := recordedTime(tx)
	if err != nil || !now.After(recorded) {
		return err
	}
	return tx.Bucket(metaBucket).Put(recordedKey, encodeTime(now))
}

func encodeTime(t time.Time) []byte {
	value := binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()))
	return binary.BigEndian.AppendUint32(value, crc32.ChecksumIEEE(value))
}

// ToldTime implements tokenstore.Backend.
func (b *Backend) ToldTime() (time.Time, error) { return b.metaTime(toldKey) }

// SetToldTime implements tokenstore.Backend.
func (b *Backend) SetToldTime(told time.Time) error { return b.setMetaTime(toldKey, told) }

// PassedTime implements tokenstore.Backend.
func (b *Backend) PassedTime() (time.Time, error) { return b.metaTime(passedKey) }

// SetPassedTime implements tokenstore.Backend.
func (b *Backend) SetPassedTime(passed time.Time) error { return b.setMetaTime(passedKey, passed) }

// metaTime returns a time that need not be there, or zero.
func (b *Backend) metaTime(key []byte) (t time.Time, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		if value := tx.Bucket(metaBucket).Get(key); value != nil {
			t, err = decodeTime(value)
		}
		return err
	})
	return t, err
}

func (b *Backend) setMetaTime(key []byte, t time.Time) error {
	return b.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(key, encodeTime(t)) })
}

// SetRecordedTime implements tokenstore.Backend.
func (b *Backend) SetRecordedTime(now time.Time, entry tokenstore.AuditEntry) error {
	return b.update(func(tx *bbolt.Tx) error {
		for _, key := range [][]byte{recordedKey, passedKey} {
			if err := tx.Bucket(metaBucket).Put(key, encodeTime(now)); err != nil {
				return err
			}
		}
		return appendAudit(tx, entry)
	})
}
