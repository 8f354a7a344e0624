package bolt

import (
	"bytes"
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

// checkRequest says whether a request is a repeat. One that can't be read may be.
func checkRequest(tx *bbolt.Tx, request *tokenstore.KeptRequest) error {
	record := tx.Bucket(requestsBucket).Get(request.Key[:])
	if record == nil {
		return nil
	}
	kept, err := tokenstore.DecodeRequest(request.Key, record)
	if err != nil {
		return err
	}
	if request.Time.Sub(kept.Time) < tokenstore.RequestRetention {
		return tokenstore.ErrRepeated
	}
	return nil
}

func putRequest(tx *bbolt.Tx, request *tokenstore.KeptRequest) error {
	if old := tx.Bucket(requestsBucket).Get(request.Key[:]); old != nil {
		// One that is no longer kept. Its key in requested would take the new one along.
		kept, err := tokenstore.DecodeRequest(request.Key, bytes.Clone(old))
		if err != nil {
			return err
		}
		if err := tx.Bucket(requestedBucket).Delete(requestedKey(&kept)); err != nil {
			return err
		}
	}
	if err := tx.Bucket(requestsBucket).Put(request.Key[:], tokenstore.EncodeRequest(*request)); err != nil {
		return err
	}
	return tx.Bucket(requestedBucket).Put(requestedKey(request), nil)
}

func requestedKey(request *tokenstore.KeptRequest) []byte {
	return slices.Concat(timeKey(nil, request.Time), request.Key[:])
}
