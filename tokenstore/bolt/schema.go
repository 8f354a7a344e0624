package bolt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

const (
	formatName    = "mollygate tokens"
	schemaVersion = 1
)

var (
	metaBucket    = []byte("meta")
	tokensBucket  = []byte("tokens")
	digestsBucket = []byte("digests")
	usageBucket   = []byte("usage")
	daysBucket    = []byte("days")
	createdBucket = []byte("created")
	expiresBucket = []byte("expires")
	auditBucket   = []byte("audit")

	requestsBucket  = []byte("requests")
	requestedBucket = []byte("requested")

	// These buckets are created when their first entry is written.
	endedBucket    = []byte("ended")
	flushBucket    = []byte("flush")
	refusalsBucket = []byte("refusals")
	// Stores created by earlier versions lack totalsBucket until this version saves usage.
	totalsBucket = []byte("totals")

	announcedKey = []byte("told")
	elapsedKey   = []byte("passed")
	backedUpKey  = []byte("backed up")
	formatKey    = []byte("format")
	versionKey   = []byte("version")
	recordedKey  = []byte("recorded")
	stateKey     = []byte("state")
	// wholeKey is missing until the hours of a day have been added up.
	wholeKey = []byte("whole")
	// Stores created by earlier versions lack identityKey until this version opens them.
	identityKey = []byte("identity")
	// transactionKey holds the number of the transaction that wrote the root page. Stores
	// created by earlier versions lack it until this version writes to them.
	transactionKey = []byte("transaction")
)

// putTransaction stores the transaction's number. This makes the transaction write the root
// page.
func putTransaction(tx *bbolt.Tx) error {
	return tx.Bucket(metaBucket).Put(transactionKey, binary.BigEndian.AppendUint64(nil, uint64(tx.ID())))
}

// timeNames maps the keys of times in the meta bucket to the names that reports use.
var timeNames = map[string]string{
	string(recordedKey): "recorded time", string(elapsedKey): "elapsed time",
	string(announcedKey): "time of the last expiry events", string(backedUpKey): "time of the last backup",
}

// optionalBuckets lists the buckets that a store may lack.
var optionalBuckets = [][]byte{endedBucket, flushBucket, refusalsBucket, totalsBucket}

// metaKeys lists the keys in the meta bucket that a rebuild copies.
var metaKeys = [][]byte{recordedKey, elapsedKey, announcedKey, backedUpKey, wholeKey, identityKey}

// buckets lists the buckets that every store has, in addition to meta.
var buckets = [][]byte{tokensBucket, digestsBucket, usageBucket, daysBucket, createdBucket, expiresBucket, auditBucket,
	requestsBucket, requestedBucket}

// createSchema creates a new store's buckets.
func createSchema(tx *bbolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	if _, err := tx.CreateBucket(totalsBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	return errors.Join(
		meta.Put(formatKey, []byte(formatName)),
		meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, schemaVersion)),
		meta.Put(recordedKey, encodeTime(time.Time{})),
		putIdentity(meta),
		putTransaction(tx))
}

// putIdentity gives a store a random identity, which ties the usage journal to the store.
func putIdentity(meta *bbolt.Bucket) error {
	identity := make([]byte, identityLength)
	_, _ = rand.Read(identity) // never fails
	return meta.Put(identityKey, identity)
}

const identityLength = 8

func checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return errForeign
	}
	return checkFormat(meta.Get(formatKey), meta.Get(versionKey))
}

var errForeign = errors.New("the file is another program's bbolt database; name another file")

func checkFormat(format, version []byte) error {
	if string(format) != formatName || len(version) != 4 {
		return errForeign
	}
	if v := binary.BigEndian.Uint32(version); v != schemaVersion {
		return fmt.Errorf(
			"the file has schema version %d, but this Mollygate supports version %d: "+
				"run the Mollygate that wrote it, or a newer one", v, schemaVersion)
	}
	return nil
}
