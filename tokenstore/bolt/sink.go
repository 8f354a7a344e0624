package bolt

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// sink writes many entries to a new store, mostly in key order.
type sink struct {
	db *bbolt.DB
	tx *bbolt.Tx
	n  int // number of entries written in tx
}

const (
	// sinkLimit is the maximum number of entries per transaction.
	sinkLimit = 50_000
	// sinkFill is the page fill percentage. The remaining space is for entries added later.
	sinkFill = 0.9
)

// bucket returns a bucket in the current transaction.
func (s *sink) bucket(name []byte) (*bbolt.Bucket, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	bucket, err := s.tx.CreateBucketIfNotExists(name)
	if err == nil {
		bucket.FillPercent = sinkFill
	}
	return bucket, err
}

// begin begins a transaction unless there is one.
func (s *sink) begin() error {
	if s.tx != nil {
		return nil
	}
	tx, err := s.db.Begin(true)
	if err == nil {
		s.tx, s.n = tx, 0
	}
	return err
}

// transaction returns the transaction for writing an entry. If the current one is full,
// transaction commits it first.
func (s *sink) transaction() (*bbolt.Tx, error) {
	if s.n >= sinkLimit {
		if err := s.commit(); err != nil {
			return nil, err
		}
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	s.n++
	return s.tx, nil
}

// put writes an entry.
func (s *sink) put(name, key, value []byte) error {
	if _, err := s.transaction(); err != nil {
		return err
	}
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	return bucket.Put(key, bytes.Clone(value)) // bbolt retains the value until the commit
}

// get returns a value, or nil if the key doesn't exist.
func (s *sink) get(name, key []byte) ([]byte, error) {
	bucket, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	return bucket.Get(key), nil
}

// delete deletes an entry.
func (s *sink) delete(name, key []byte) error {
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	return bucket.Delete(key)
}

// setSequence sets a bucket's sequence number.
func (s *sink) setSequence(name []byte, sequence uint64) error {
	bucket, err := s.bucket(name)
	if err != nil {
		return err
	}
	return bucket.SetSequence(sequence)
}

// commit commits the current transaction, if there is one.
func (s *sink) commit() error {
	tx := s.tx
	if s.tx = nil; tx == nil {
		return nil
	}
	return tx.Commit()
}

// rollback rolls back the current transaction, if there is one.
func (s *sink) rollback() {
	if s.tx != nil {
		_ = s.tx.Rollback()
		s.tx = nil
	}
}
