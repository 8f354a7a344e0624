package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// A counters file holds totals, not differences, so that they can be saved twice. While
// it can't be read, because it is another user's, totals are counted that lack what is
// in it. The bucket unread then keeps each token's totals as they were before the first
// of these was saved: what the file has beyond them is what is missing, and is added
// once by the next process that can read it. The bucket is there only during that time;
// an older Mollygate ignores it.

// unreadError says what to do about a counters file that can't be read.
func unreadError(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: give it to the user that Caddy runs as (chown %d %s) and restart Caddy, which then adds what it holds", err, os.Geteuid(), path)
	}
	return fmt.Errorf("%w: %w", tokenstore.ErrCountsUnread, err)
}

// keepTotals keeps a token's saved totals, unless that was done before.
func keepTotals(tx *bbolt.Tx, id tokenstore.ID) error {
	bucket, err := tx.CreateBucketIfNotExists(unreadBucket)
	if err != nil || bucket.Get(id[:]) != nil {
		return err
	}
	saved, err := savedUsage(tx, id)
	if err != nil { // a damaged record, which begins anew
		saved = tokenstore.UsageOf{}
	}
	return bucket.Put(id[:], tokenstore.EncodeUsage(tokenstore.UsageOf{ID: id, Usage: saved.Usage}))
}

// saveLeft saves what a counters file has of a token. The totals that were kept while
// it couldn't be read are given up with that.
func saveLeft(tx *bbolt.Tx, id tokenstore.ID, left tokenstore.Usage) error {
	kept, ok := keptTotals(tx, id)
	if !ok {
		return saveUsage(tx, tokenstore.UsageOf{ID: id, Usage: left, OnlyTotals: true})
	}
	saved, err := savedUsage(tx, id)
	if err != nil {
		saved = tokenstore.UsageOf{ID: id}
	}
	if day, ok := savedDay(tx, id, tokenstore.DayOf(left.Last.Time)); ok {
		saved.Days = append([]tokenstore.DayUsage{day}, saved.Days...)
	}
	return errors.Join(saveUsage(tx, saved.Plus(left.Minus(kept))), tx.Bucket(unreadBucket).Delete(id[:]))
}

// keptTotals returns what keepTotals has kept of a token. A record that can't be read
// counts as none.
func keptTotals(tx *bbolt.Tx, id tokenstore.ID) (tokenstore.Usage, bool) {
	bucket := tx.Bucket(unreadBucket)
	if bucket == nil {
		return tokenstore.Usage{}, false
	}
	kept, err := tokenstore.DecodeUsage(id, bucket.Get(id[:]))
	return kept.Usage, err == nil
}

// hasUnread reports whether there are totals that were kept while a counters file
// couldn't be read.
func (b *Backend) hasUnread() (kept bool, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		kept = tx.Bucket(unreadBucket) != nil
		return nil
	})
	return kept, err
}

// forgetUnread removes the totals that were kept while a counters file couldn't be read.
func (b *Backend) forgetUnread() error {
	if kept, err := b.hasUnread(); err != nil || !kept {
		return err
	}
	return b.update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(unreadBucket) })
}
