package bolt

import (
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// Usage implements tokenstore.Backend.
func (b *Backend) Usage(id tokenstore.ID) (usage tokenstore.Usage, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		record := tx.Bucket(usageBucket).Get(id[:])
		if record == nil {
			return nil
		}
		usage, err = tokenstore.DecodeUsage(id, record)
		return err
	})
	return usage, err
}

// SaveUsage implements tokenstore.Backend.
func (b *Backend) SaveUsage(now time.Time, totals []tokenstore.UsageOf) error {
	return b.update(func(tx *bbolt.Tx) error {
		tokens, usage := tx.Bucket(tokensBucket), tx.Bucket(usageBucket)
		for _, total := range totals {
			if tokens.Get(total.ID[:]) == nil {
				continue
			}
			if err := usage.Put(total.ID[:], tokenstore.EncodeUsage(total)); err != nil {
				return err
			}
		}
		return record(tx, now)
	})
}
