package bolt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

const formatName = "mollygate tokens"

// format is a kind of file, identified by its schema version. Replicas have versions of their
// own, so that versions of Mollygate that don't know replicas refuse them. They would take a
// different format name for a damaged one, and rebuild the replica as a store.
//
// The version has no checksum, so the versions of a store and of a replica differ in many bits.
type format uint32

const (
	// unknownFormat stands for the format of a file that is too damaged to tell.
	unknownFormat format = 0
	storeFormat   format = 1
	replicaFormat format = 0x7265706c // "repl"

	// maxStoreVersion is the highest version that errors treat as a store's.
	maxStoreVersion = 1<<16 - 1
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

	// Only replicas have these buckets.
	elsewhereBucket       = []byte("elsewhere")
	daysElsewhereBucket   = []byte("days elsewhere")
	totalsElsewhereBucket = []byte("totals elsewhere")
	// noteBucket is created when a note is first written.
	noteBucket = []byte("note")

	announcedKey = []byte("told")
	elapsedKey   = []byte("passed")
	backedUpKey  = []byte("backed up")
	formatKey    = []byte("format")
	versionKey   = []byte("version")
	recordedKey  = []byte("recorded")
	stateKey     = []byte("state")
	// wholeKey is missing until the hours of a day have been added up.
	wholeKey = []byte("whole")
	// wholeElsewhereKey is wholeKey for the usage of other nodes.
	wholeElsewhereKey = []byte("whole elsewhere")
	// Stores created by earlier versions lack identityKey until this version opens them.
	identityKey = []byte("identity")
	// transactionKey holds the number of the transaction that wrote the root page. Stores
	// created by earlier versions lack it until this version writes to them.
	transactionKey = []byte("transaction")
	noteKey        = []byte("note")
	// incompleteKey exists if a rebuild may have lost records.
	incompleteKey = []byte("incomplete")
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

// metaKeys lists the keys in the meta bucket that a rebuild copies.
var metaKeys = [][]byte{recordedKey, elapsedKey, announcedKey, backedUpKey, wholeKey, wholeElsewhereKey, identityKey}

// buckets returns the buckets that every file has, in addition to meta.
func (f format) buckets() [][]byte {
	names := [][]byte{tokensBucket, digestsBucket, usageBucket, daysBucket, createdBucket, expiresBucket, auditBucket,
		requestsBucket, requestedBucket}
	if f == replicaFormat {
		names = append(names, elsewhereBucket, daysElsewhereBucket, totalsElsewhereBucket)
	}
	return names
}

// optionalBuckets returns the buckets that a file may lack.
func (f format) optionalBuckets() [][]byte {
	names := [][]byte{endedBucket, flushBucket, refusalsBucket, totalsBucket}
	if f == replicaFormat {
		names = append(names, noteBucket)
	}
	return names
}

// createSchema creates a new file's buckets.
func (f format) createSchema(tx *bbolt.Tx) error {
	for _, name := range f.buckets() {
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
		meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, uint32(f))),
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

func (f format) checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return errForeign
	}
	return f.check(meta.Get(formatKey), meta.Get(versionKey))
}

var (
	errForeign = errors.New("the file is another program's bbolt database; name another file")
	errReplica = errors.New("the file is a replica of a shared store: " +
		"use it with the store that it belongs to, or name another file")
	errNotReplica = errors.New("the file is a token store, not a replica of a shared store: " +
		"use it as the store that it is, or name another file, which Caddy creates if it doesn't exist")
)

// check returns an error unless a file's format name and version are those of f.
func (f format) check(name, version []byte) error {
	if string(name) != formatName || len(version) != 4 {
		return errForeign
	}
	switch v := format(binary.BigEndian.Uint32(version)); v {
	case f:
		return nil
	case replicaFormat:
		return errReplica
	case storeFormat:
		return errNotReplica
	default:
		found := "an unknown schema version"
		if f == storeFormat && v <= maxStoreVersion {
			found = fmt.Sprintf("schema version %d, but this Mollygate supports version %d", v, f)
		}
		return fmt.Errorf("the file has %s: run the Mollygate that wrote it, or a newer one", found)
	}
}

// formatOf returns the format of a file that bbolt hasn't opened. bbolt stores the small meta
// bucket inside the root page, where boltfile can read it. If the version is damaged, formatOf
// goes by the buckets.
func formatOf(content *boltfile.File) format {
	version := content.Get(metaBucket, versionKey)
	if len(version) == 4 {
		if f := format(binary.BigEndian.Uint32(version)); f == storeFormat || f == replicaFormat {
			return f
		}
	}
	switch {
	case content.HasBucket(daysElsewhereBucket) || content.HasBucket(totalsElsewhereBucket):
		return replicaFormat
	case content.Err() == nil:
		return storeFormat
	}
	return unknownFormat
}
