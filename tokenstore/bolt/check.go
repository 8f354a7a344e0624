package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Report is what [Check] found.
type Report struct {
	Tokens       int
	AuditEntries int
	// Problems say what is damaged or contradicts itself; none is a sound store.
	// Beyond [maxProblems] they are only counted.
	Problems []string
	// More is how many problems aren't among Problems.
	More int
}

const maxProblems = 100

func (r *Report) add(format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Check reads all of a store's file, such as that of a backup: every record, and
// whether what leads to the records agrees with them. It changes nothing. A file
// that is in use is a [*LockedError], and one that isn't a store at all an error.
func Check(path string) (Report, error) {
	if _, err := os.Stat(path); err != nil {
		return Report{}, fmt.Errorf("checking token store: %w", err)
	}
	b, err := openAlone(path)
	if err != nil {
		return Report{}, err
	}
	var report Report
	err = b.view(func(tx *bbolt.Tx) error {
		report = Report{}
		c := checker{tx: tx, report: &report}
		return errors.Join(c.tokens(), c.digests(), c.orders(), c.usage(), c.days(), c.audit(), c.requests(), c.ended())
	})
	return report, errors.Join(err, b.Close())
}

type checker struct {
	tx     *bbolt.Tx
	report *Report
}

func (c checker) tokens() error {
	return c.tx.Bucket(tokensBucket).ForEach(func(key, _ []byte) error {
		c.report.Tokens++
		if len(key) != len(token.ID{}) {
			c.report.add("a token's key has %d bytes", len(key))
			return nil
		}
		id := token.ID(key)
		token, err := vouched(c.tx, id)
		if err != nil {
			c.report.add("token %s: %v", id, err)
			return nil
		}
		for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
			if !has(c.tx.Bucket(orderBucket(order)), orderKey(order, token)) {
				c.report.add("token %s is missing from one of the lists", id)
			}
		}
		for _, digest := range token.Digests() {
			if entry, err := entryID(c.tx.Bucket(digestsBucket).Get(digest[:])); err != nil || entry != id {
				c.report.add("token %s can't be found by one of its secrets", id)
			}
		}
		return nil
	})
}

func (c checker) digests() error {
	return c.tx.Bucket(digestsBucket).ForEach(func(key, entry []byte) error {
		id, err := entryID(entry)
		if err != nil || len(key) != len(token.Digest{}) {
			c.report.add("an entry of a secret is damaged")
			return nil
		}
		token, err := vouched(c.tx, id)
		if errors.Is(err, tokenstore.ErrNotFound) {
			c.report.add("a secret leads to token %s, which doesn't exist", id)
		} else if err == nil && !bytes.Equal(key, token.Digest[:]) && !bytes.Equal(key, token.PreviousDigest[:]) {
			c.report.add("a secret leads to token %s, which doesn't have it", id)
		}
		return nil
	})
}

func (c checker) orders() error {
	var err error
	for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
		err = errors.Join(err, c.tx.Bucket(orderBucket(order)).ForEach(func(key, _ []byte) error {
			if len(key) != orderKeyLength {
				c.report.add("an entry of a list is damaged")
				return nil
			}
			id := token.ID(key[orderTimeLength:])
			token, err := vouched(c.tx, id)
			if errors.Is(err, tokenstore.ErrNotFound) || err == nil && !bytes.Equal(key, orderKey(order, token)) {
				c.report.add("token %s is listed at a wrong place", id)
			}
			return nil
		}))
	}
	return err
}

func (c checker) usage() error {
	return c.tx.Bucket(usageBucket).ForEach(func(key, record []byte) error {
		if len(key) != len(token.ID{}) || !has(c.tx.Bucket(tokensBucket), key) {
			c.report.add("there is a usage record of a token that doesn't exist")
			return nil
		}
		if _, err := tokenstore.DecodeUsage(token.ID(key), record); err != nil {
			c.report.add("usage of token %s: %v", key, err)
		}
		return nil
	})
}

func (c checker) days() error {
	return c.tx.Bucket(daysBucket).ForEach(func(key, record []byte) error {
		if len(key) != dayKeyLength || !has(c.tx.Bucket(tokensBucket), key[dayKeyLength-len(token.ID{}):]) {
			c.report.add("there is a day's usage of a token that doesn't exist")
			return nil
		}
		if _, err := tokenstore.DecodeDay(key, keyDay(key), record); err != nil {
			c.report.add("usage of token %s on %s: %v", key[dayKeyLength-len(token.ID{}):], keyDay(key).Start().Format(time.DateOnly), err)
		}
		return nil
	})
}

func (c checker) audit() error {
	return c.tx.Bucket(auditBucket).ForEach(func(key, record []byte) error {
		c.report.AuditEntries++
		if len(key) != auditKeyLength {
			c.report.add("an audit entry's key has %d bytes", len(key))
		} else if _, err := tokenstore.DecodeAuditEntry(key, record); err != nil {
			c.report.add("audit entry of %s: %v", auditPosition(key).Time.Format("2006-01-02 15:04:05"), err)
		}
		return nil
	})
}

func (c checker) requests() error {
	requested := c.tx.Bucket(requestedBucket)
	return c.tx.Bucket(requestsBucket).ForEach(func(key, record []byte) error {
		if len(key) != len(token.Digest{}) {
			c.report.add("a kept request's key has %d bytes", len(key))
			return nil
		}
		request, err := tokenstore.DecodeRequest(token.Digest(key), record)
		if err != nil {
			c.report.add("a kept request: %v", err)
		} else if !has(requested, requestedKey(&request)) {
			c.report.add("a kept request would never be forgotten")
		}
		return nil
	})
}

func (c checker) ended() error {
	bucket := c.tx.Bucket(endedBucket)
	if bucket == nil {
		return nil
	}
	return bucket.ForEach(func(key, record []byte) error {
		if len(key) != len(token.Digest{}) {
			c.report.add("the key of a secret that was taken out of service has %d bytes", len(key))
			return nil
		}
		if _, err := tokenstore.DecodeEnded(token.Digest(key), record); err != nil {
			c.report.add("a secret that was taken out of service: %v", err)
		}
		id, err := entryID(c.tx.Bucket(digestsBucket).Get(key))
		if err != nil {
			return nil // it leads to no token, as it should
		}
		if token, err := vouched(c.tx, id); err == nil && bytes.Equal(key, token.Digest[:]) {
			c.report.add("token %s has a secret that was taken out of service", id)
		}
		return nil
	})
}

func has(bucket *bbolt.Bucket, key []byte) bool {
	found, _ := bucket.Cursor().Seek(key)
	return bytes.Equal(found, key)
}
