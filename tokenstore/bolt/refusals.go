package bolt

import (
	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Refusals implements tokenstore.Backend.
func (b *Backend) Refusals(id token.ID) (refusals []tokenstore.Refusal, state tokenstore.FlushState, err error) {
	err = b.viewNow(func(tx *bbolt.Tx) error {
		state = flushState(tx)
		if bucket := tx.Bucket(refusalsBucket); bucket != nil {
			refusals = savedRefusals(bucket, id)
		}
		return nil
	})
	return refusals, state, err
}

// savedRefusals returns a token's refusals. There are none if the record is missing or damaged.
func savedRefusals(bucket *bbolt.Bucket, id token.ID) []tokenstore.Refusal {
	refusals, _ := tokenstore.DecodeRefusals(id, bucket.Get(id[:]))
	return refusals
}

// addRefusals adds to a token's refusals.
func addRefusals(tx *bbolt.Tx, id token.ID, added []tokenstore.Refusal) error {
	if len(added) == 0 {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(refusalsBucket)
	if err != nil {
		return err
	}
	refusals := tokenstore.MergeRefusals(savedRefusals(bucket, id), added)
	return bucket.Put(id[:], tokenstore.EncodeRefusals(id, refusals))
}
