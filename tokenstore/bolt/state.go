package bolt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// State implements tokenstore.Backend.
func (b *Backend) State() (state tokenstore.State, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		state.Flush = flushState(tx)
		if identity := meta.Get(identityKey); len(identity) == identityLength {
			state.Identity = binary.BigEndian.Uint64(identity)
		}
		var errs [4]error
		state.Recorded, errs[0] = decodeTime(meta.Get(recordedKey))
		state.Elapsed, errs[1] = optionalTime(meta.Get(elapsedKey))
		state.Announced, errs[2] = optionalTime(meta.Get(announcedKey))
		state.BackedUp, errs[3] = optionalTime(meta.Get(backedUpKey))
		return errors.Join(errs[:]...)
	})
	return state, err
}

// flushState returns the flush state. If its record is damaged, it returns the zero
// FlushState, which prevents any journal from being replayed.
func flushState(tx *bbolt.Tx) (state tokenstore.FlushState) {
	if bucket := tx.Bucket(flushBucket); bucket != nil {
		state, _ = tokenstore.DecodeFlushState(stateKey, bucket.Get(stateKey))
	}
	return state
}

func putFlushState(tx *bbolt.Tx, state tokenstore.FlushState) error {
	bucket, err := tx.CreateBucketIfNotExists(flushBucket)
	if err != nil {
		return err
	}
	return bucket.Put(stateKey, tokenstore.EncodeFlushState(stateKey, state))
}

// SetTimes implements tokenstore.Backend.
func (b *Backend) SetTimes(times tokenstore.State, entry *tokenstore.AuditEntry) error {
	return b.update(func(tx *bbolt.Tx) error {
		if err := putTimes(tx, times); err != nil || entry == nil {
			return err
		}
		return appendAudit(tx, *entry)
	})
}

// putTimes stores the nonzero times.
func putTimes(tx *bbolt.Tx, times tokenstore.State) error {
	for _, t := range []struct {
		key  []byte
		time time.Time
	}{{recordedKey, times.Recorded}, {elapsedKey, times.Elapsed}, {announcedKey, times.Announced},
		{backedUpKey, times.BackedUp}} {
		if t.time.IsZero() {
			continue
		}
		if err := tx.Bucket(metaBucket).Put(t.key, encodeTime(t.time)); err != nil {
			return err
		}
	}
	return nil
}

// recordTime stores now if it is after the recorded time.
func recordTime(tx *bbolt.Tx, now time.Time) error {
	recorded, err := decodeTime(tx.Bucket(metaBucket).Get(recordedKey))
	if err != nil || !now.After(recorded) {
		return err
	}
	return tx.Bucket(metaBucket).Put(recordedKey, encodeTime(now))
}

func encodeTime(t time.Time) []byte {
	value := binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()))
	return binary.BigEndian.AppendUint32(value, crc32.ChecksumIEEE(value))
}

func decodeTime(value []byte) (time.Time, error) {
	if len(value) != 12 || binary.BigEndian.Uint32(value[8:]) != crc32.ChecksumIEEE(value[:8]) {
		return time.Time{}, errors.New("the record is damaged")
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(value))).UTC(), nil
}

// optionalTime decodes a time. It returns the zero time if value is nil.
func optionalTime(value []byte) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	return decodeTime(value)
}
