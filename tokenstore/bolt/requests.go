package bolt

import (
	"bytes"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Request implements tokenstore.Backend.
func (b *Backend) Request(key token.Digest) (request tokenstore.KeptRequest, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		record := tx.Bucket(requestsBucket).Get(key[:])
		if record == nil {
			return tokenstore.ErrNotFound
		}
		request, err = tokenstore.DecodeRequest(key, record)
		return err
	})
	return request, err
}

// checkRequest returns an error if a request is a repeat. It also returns an error if the
// stored request can't be decoded, because the request may then be a repeat.
func checkRequest(tx *bbolt.Tx, request *tokenstore.KeptRequest) error {
	record := tx.Bucket(requestsBucket).Get(request.Key[:])
	if record == nil {
		return nil
	}
	stored, err := tokenstore.DecodeRequest(request.Key, record)
	if err != nil {
		return err
	}
	if request.Time.Sub(stored.Time) < tokenstore.RequestRetention {
		return tokenstore.ErrRepeated
	}
	return nil
}

func putRequest(tx *bbolt.Tx, request *tokenstore.KeptRequest) error {
	if old := tx.Bucket(requestsBucket).Get(request.Key[:]); old != nil {
		// The old request has expired. If its key stayed in requested, Prune would delete the
		// new request.
		expired, err := tokenstore.DecodeRequest(request.Key, bytes.Clone(old))
		if err != nil {
			return err
		}
		if err := tx.Bucket(requestedBucket).Delete(requestedKey(&expired)); err != nil {
			return err
		}
	}
	return putRequestRecord(tx, request, tokenstore.EncodeRequest(*request))
}

// putRequestRecord stores a request whose key isn't in use, and its record.
func putRequestRecord(tx *bbolt.Tx, request *tokenstore.KeptRequest, record []byte) error {
	return errors.Join(
		tx.Bucket(requestsBucket).Put(request.Key[:], record),
		tx.Bucket(requestedBucket).Put(requestedKey(request), nil))
}

func requestedKey(request *tokenstore.KeptRequest) []byte {
	return slices.Concat(timeKey(nil, request.Time), request.Key[:])
}
