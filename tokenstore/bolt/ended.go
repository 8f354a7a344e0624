package bolt

import (
	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// The ended bucket is created when its first entry is written, so older stores need no
// migration. Older versions of Mollygate ignore the bucket.

// checkEnded returns an [*tokenstore.EndedError] if the token's secret is new and was taken
// out of service, even if the entry can't be decoded.
func checkEnded(tx *bbolt.Tx, old, token *token.Token) error {
	if old != nil && old.Digest == token.Digest {
		return nil
	}
	if ended, found := endedSecret(tx, token.Digest); found {
		return &tokenstore.EndedError{At: ended.At}
	}
	return nil
}

// endedSecret returns the entry of a secret that was taken out of service. The entry's time is
// zero if the entry can't be decoded.
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

// putEnded stores a secret that was taken out of service. If the secret is already stored, the
// earlier time wins. If known is set, putEnded only updates a secret that is already stored.
func putEnded(tx *bbolt.Tx, ended tokenstore.EndedSecret, known bool) error {
	stored, found := endedSecret(tx, ended.Digest)
	if found && !ended.At.Before(stored.At) || !found && known {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(endedBucket)
	if err != nil {
		return err
	}
	return bucket.Put(ended.Digest[:], tokenstore.EncodeEnded(ended))
}
