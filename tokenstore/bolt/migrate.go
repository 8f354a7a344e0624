package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Mollygate before the journal kept the totals of tokens in use in a mapped file. What a
// killed process of such a version left there is added when the store is first opened.
//
// The file is a header and slots of one length, in the machine's byte order. A slot holds
// a token's id, a checksum of it, and three pairs of numbers: allowed and denied requests
// and the time of the last use in microseconds, each as it is and as it was last saved.
// A number that is no multiple of counterFactor is damaged.
const (
	countersSuffix = ".counters"
	countersHeader = "mollygate counts"
	counterLength  = 64
	counterFactor  = 251
)

// unreadBucket kept the saved totals of tokens while the counters file could not be read:
// the file counts on from these.
var unreadBucket = []byte("unread")

// counter is a slot of a counters file.
type counter struct {
	id                       token.ID
	allowed, denied, lastUse uint64
}

// readCounters returns the content of the counters file next to a store, or nil if there is
// none. A file that can't be read, or is damaged, is an error.
func readCounters(store string) ([]byte, error) {
	path := store + countersSuffix
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (len(content) < counterLength || !bytes.HasPrefix(content, []byte(countersHeader))) {
		err = errors.New("it does not begin as such a file does")
	}
	if err != nil {
		return nil,
			fmt.Errorf(
				"the file %s, in which an earlier version of Mollygate counted, can't be read: give it to the user that Caddy runs as, or move it away, which loses what was counted in the last seconds before Caddy was killed: %w", path, err)
	}
	return content, nil
}

// migrateCounters adds what the counters file holds beyond the saved usage, and removes it.
func migrateCounters(b *Backend) error {
	content, err := readCounters(b.path)
	if content == nil {
		return err
	}
	err = b.update(func(tx *bbolt.Tx) error {
		for slot := counterLength; slot+counterLength <= len(content); slot += counterLength {
			c, ok := readCounter(content[slot:])
			if !ok {
				continue
			}
			if err := addCounter(tx, c); err != nil {
				return err
			}
		}
		if tx.Bucket(unreadBucket) == nil {
			return nil
		}
		return tx.DeleteBucket(unreadBucket)
	})
	if err != nil {
		return fmt.Errorf("adding what %s counted: %w", b.path+countersSuffix, err)
	}
	return os.Remove(b.path + countersSuffix)
}

// readCounter reads a slot, unless it is unused or damaged, or all of it is saved.
func readCounter(slot []byte) (c counter, ok bool) {
	copy(c.id[:], slot)
	if binary.NativeEndian.Uint32(slot[12:]) != ^crc32.ChecksumIEEE(c.id[:]) {
		return c, false
	}
	now, saved := slot[16:40], slot[40:64]
	if bytes.Equal(now, saved) {
		return c, false
	}
	for i, number := range []*uint64{&c.allowed, &c.denied, &c.lastUse} {
		coded := binary.NativeEndian.Uint64(now[8*i:])
		if coded%counterFactor != 0 {
			return c, false
		}
		*number = coded / counterFactor
	}
	return c, true
}

// outcomeUnknown is the outcome of refused requests that are known by their number only.
const outcomeUnknown = "unknown"

// addCounter adds what a slot has beyond the saved usage. These requests were like the last
// use: that version saved others within a second.
func addCounter(tx *bbolt.Tx, c counter) error {
	saved, _ := savedUsage(tx, c.id) // one that can't be read starts at zero
	if unread := tx.Bucket(unreadBucket); unread != nil {
		if kept, err := tokenstore.DecodeUsage(c.id, unread.Get(c.id[:])); err == nil {
			saved.Allowed, saved.Denied = kept.Allowed, kept.Denied
		}
	}
	more := tokenstore.Usage{Allowed: c.allowed - min(c.allowed, saved.Allowed),
		Denied: c.denied - min(c.denied, saved.Denied), Last: saved.Last}
	at, err := decodeTime(tx.Bucket(metaBucket).Get(recordedKey))
	if err != nil {
		return err
	}
	if c.lastUse > 0 {
		at = time.UnixMicro(int64(c.lastUse)).UTC()
		more.Last.Time = at
	}
	day := tokenstore.DayUsage{Day: tokenstore.DayOf(at)}
	day.Add(tokenstore.Point{Time: at, Scope: lastScope(tx, c.id), Outcome: tokenstore.OutcomeOK, Count: more.Allowed})
	day.Add(tokenstore.Point{Time: at, Outcome: outcomeUnknown, Count: more.Denied})
	more.Days = []tokenstore.DayUsage{day}
	return addUsage(tx, c.id, more)
}

// lastScope returns the scope of a token's last use, which is a field of the usage records
// of that version.
func lastScope(tx *bbolt.Tx, id token.ID) (scope string) {
	const field protowire.Number = 13
	record := tx.Bucket(usageBucket).Get(id[:])
	for len(record) > crc32.Size {
		number, wireType, n := protowire.ConsumeTag(record)
		if n < 0 {
			return ""
		}
		record = record[n:]
		if number == field && wireType == protowire.BytesType {
			scope, _ = protowire.ConsumeString(record)
			return scope
		}
		if n = protowire.ConsumeFieldValue(number, wireType, record); n < 0 {
			return ""
		}
		record = record[n:]
	}
	return ""
}
