package bolt

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// sink writes many entries into a new store, most of them in the order of their keys.
type sink struct {
	db *bbolt.DB
	tx *bbolt.Tx
	n  int // entries in the transaction
}

const (
	// sinkLimit is how many entries a transaction has at most.
	sinkLimit = 50_000
	// sinkFill is how full pages become. The rest is for entries that are added later.
	sinkFill = 0.9
)

// bucket returns a bucket in the present transaction.
func (s *sink) bucket(name []byte) (*bbolt.Bucket, error) {
	if s.tx == nil {
		tx, err := s.db.Begin(true)
		if err != nil {
			return nil, err
		}
		s.tx, s.n = tx, 0
	}
	bucket, err := s.tx.CreateBucketIfNotExists(name)
	if err == nil {
		bucket.FillPercent = sinkFill
	}
	return bucket, err
}

// put writes an entry.
func (s *sink) put(name, key, value []byte) error {
	if s.n >= sinkLimit {
		if err := s.commit(); err != nil {
			return err
		}
	}
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	s.n++
	return bucket.Put(key, bytes.Clone(value)) // which bbolt keeps until the commit
}

// get returns a value, or nil if there is no such entry.
func (s *sink) get(name, key []byte) ([]byte, error) {
	bucket, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	return bucket.Get(key), nil
}

// delete removes an entry.
func (s *sink) delete(name, key []byte) error {
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	return bucket.Delete(key)
}

// setSequence sets the sequence number of a bucket.
func (s *sink) setSequence(name []byte, sequence uint64) error {
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	return bucket.SetSequence(sequence)
}

// commit ends the present transaction.
func (s *sink) commit() error {
	tx := s.tx
	if s.tx = nil; tx == nil {
		return nil
	}
	return tx.Commit()
}

// rollback gives the present transaction up.
func (s *sink) rollback() {
	if s.tx != nil {
		_ = s.tx.Rollback()
		s.tx = nil
	}
}
