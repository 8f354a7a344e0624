package bolt

import (
	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// The bucket ended is made with its first entry: stores made before there was such a
// bucket need no new form, and an older Mollygate ignores it.

// checkEnded refuses a secret that was taken out of service, unless the token has it
// already. An entry that can't be read refuses too.
func checkEnded(tx *bbolt.Tx, old, token *token.Token) error {
	if old != nil && old.Digest == token.Digest {
		return nil
	}
	if ended, found := endedSecret(tx, token.Digest); found {
		return &tokenstore.EndedError{At: ended.At}
	}
	return nil
}

// endedSecret returns the entry of a secret that was taken out of service. Its time
// is zero if it can't be read.
func endedSecret(tx *bbolt.Tx, digest token.Digest) (ended tokenstore.EndedSecret, found bool) {
	bucket := tx.Bucket(endedBucket)
	if bucket == nil {
		return ended, false
	}
	record := bucket.Get(digest[:])
	if record == nil {
		return ended, false
	}
	ended, _ = tokenstore.DecodeEnded(digest, record)
	return ended, true
}

// putEnded keeps a secret that was taken out of service, if known only one that is
// kept already. The earlier of two times stays.
func putEnded(tx *bbolt.Tx, ended tokenstore.EndedSecret, known bool) error {
	kept, found := endedSecret(tx, ended.Digest)
	if found && !ended.At.Before(kept.At) || !found && known {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(endedBucket)
	if err != nil {
		return err
	}
	return bucket.Put(ended.Digest[:], tokenstore.EncodeEnded(ended))
}
