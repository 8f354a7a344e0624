package bolt

import (
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

	// These are missing until they have an entry.
	endedBucket = []byte("ended")
	flushBucket = []byte("flush")

	toldKey     = []byte("told")
	passedKey   = []byte("passed")
	formatKey   = []byte("format")
	versionKey  = []byte("version")
	recordedKey = []byte("recorded")
	stateKey    = []byte("state")
	// wholeKey is missing until there is a day that is over for long.
	wholeKey = []byte("whole")
)

// buckets are those that every store has, in addition to meta.
var buckets = [][]byte{tokensBucket, digestsBucket, usageBucket, daysBucket, createdBucket, expiresBucket, auditBucket, requestsBucket, requestedBucket}

func makeSchema(tx *bbolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	return errors.Join(
		meta.Put(formatKey, []byte(formatName)),
		meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, schemaVersion)),
		meta.Put(recordedKey, encodeTime(time.Time{})))
}

func checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return errForeign
	}
	if err := checkFormat(meta.Get(formatKey), meta.Get(versionKey)); err != nil {
		return err
	}
	return checkBuckets(func(name []byte) bool { return tx.Bucket(name) != nil })
}

// checkBuckets returns an error that names a bucket that isn't there.
func checkBuckets(has func(name []byte) bool) error {
	for _, name := range buckets {
		if !has(name) {
			return fmt.Errorf("the file is damaged: its %q part is missing; restore a backup", name)
		}
	}
	return nil
}

var errForeign = errors.New("the file is a bbolt database of another program; name another file")

func checkFormat(format, version []byte) error {
	if string(format) != formatName || len(version) != 4 {
		return errForeign
	}
	if v := binary.BigEndian.Uint32(version); v != schemaVersion {
		return fmt.Errorf("the file has schema version %d and this Mollygate knows %d: run the Mollygate that wrote it, or a newer one", v, schemaVersion)
	}
	return nil
}
