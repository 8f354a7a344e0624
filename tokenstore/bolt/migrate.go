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

// Before the usage journal was added, Mollygate counted requests in a memory-mapped file. Open
// adds any counts that a killed process of an earlier version left in that file.
//
// The file consists of a header and slots of equal length, in the machine's byte order. Each
// slot holds a token's ID, a checksum of the ID, and the current and last saved values of
// three numbers: allowed requests, denied requests and the time of the last use in
// microseconds. Each number is stored multiplied by counterFactor, so a value that isn't a
// multiple of it is damaged.
const (
	countersSuffix = ".counters"
	countersHeader = "mollygate counts"
	counterLength  = 64
	counterFactor  = 251
)

// unreadBucket holds the totals saved when the counters file couldn't be read. The numbers in
// the file continue from these totals.
var unreadBucket = []byte("unread")

// counter is a slot in a counters file.
type counter struct {
	id                       token.ID
	allowed, denied, lastUse uint64
}

// readCounters returns the content of the counters file next to a store, or nil if there is
// none.
func readCounters(store string) ([]byte, error) {
	path := store + countersSuffix
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (len(content) < counterLength || !bytes.HasPrefix(content, []byte(countersHeader))) {
		err = errors.New("invalid header")
	}
	if err != nil {
		return nil, fmt.Errorf("the counters file %s of an earlier version of Mollygate can't be read: "+
			"grant read access to the user that Caddy runs as, or move the file away, "+
			"which loses the counts of the last seconds before Caddy was killed: %w", path, err)
	}
	return content, nil
}

// migrateCounters adds the unsaved counts in the counters file to the tokens' usage and
// removes the file.
func migrateCounters(b *Backend) error {
	content, err := readCounters(b.path)
	if content == nil {
		return err
	}
	err = b.update(func(tx *bbolt.Tx) error {
		added := make(totals)
		for slot := counterLength; slot+counterLength <= len(content); slot += counterLength {
			c, ok := readCounter(content[slot:])
			if !ok {
				continue
			}
			if err := addCounter(tx, c, added); err != nil {
				return err
			}
		}
		if tx.Bucket(unreadBucket) != nil {
			if err := tx.DeleteBucket(unreadBucket); err != nil {
				return err
			}
		}
		return addTotals(tx, added)
	})
	if err != nil {
		return fmt.Errorf("adding the counts in %s: %w", b.path+countersSuffix, err)
	}
	return os.Remove(b.path + countersSuffix)
}

// readCounter decodes a slot. ok is false if the slot is unused, is damaged or has no unsaved
// counts.
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

// outcomeUnknown is the outcome recorded for refused requests when only their number is known.
const outcomeUnknown = "unknown"

// addCounter adds a slot's unsaved counts to the token's usage. It attributes them to the
// scope of the last use, because the earlier version saved counts for any other scope within a
// second.
func addCounter(tx *bbolt.Tx, c counter, sums totals) error {
	saved, _ := savedUsage(tx, c.id) // zero if it can't be read
	if unread := tx.Bucket(unreadBucket); unread != nil {
		if base, err := tokenstore.DecodeUsage(c.id, unread.Get(c.id[:])); err == nil {
			saved.Allowed, saved.Denied = base.Allowed, base.Denied
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
	return addUsage(tx, c.id, more, sums)
}

// lastScope returns the scope of a token's last use, which the earlier version stored in usage
// records.
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
