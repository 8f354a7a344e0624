package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// open opens the file. It verifies every page before bbolt uses the file, then verifies the
// records, and rebuilds the file if it finds damage.
func (b *Backend) open() error {
	file, err := b.format.lockPath(b.path)
	if err != nil {
		return err
	}
	structure, err := verify(file)
	if err != nil {
		return errors.Join(storeError(b.path, err), file.Close())
	}
	h, err := b.openVerified(file, structure)
	if err != nil {
		return storeError(b.path, err)
	}
	b.current.Store(h)
	if err := b.prepare(h); err != nil {
		return errors.Join(storeError(b.path, err), b.Close())
	}
	if h.size.Load() > maxVerifiedRecords {
		b.background.start(b.verifyRecordsSlowly)
	} else {
		b.verifyRecords(checkStep, b.closed.Load)
	}
	return nil
}

// storeError adds the store's path to an error.
func storeError(path string, err error) error {
	return fmt.Errorf("opening token store %s: %w", path, err)
}

// verify reads and checks all pages of a locked file.
func verify(file *os.File) (*boltfile.Structure, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	content, err := boltfile.Read(file, info.Size())
	if err != nil {
		return nil, fileError(err)
	}
	return content.Verify(rootAge(content)), nil
}

// openVerified opens the file if its structure is sound. Otherwise it rebuilds the file, opens
// the new one and closes file. It doesn't rebuild a replica as a store.
func (b *Backend) openVerified(file *os.File, structure *boltfile.Structure) (*handle, error) {
	faults := b.format.structureFaults(structure)
	if len(faults) == 0 {
		return newHandle(file)
	}
	if b.format == storeFormat && salvagedFormat(structure) == replicaFormat {
		return nil, errors.Join(errReplica, file.Close())
	}
	h, err := b.replaceWith(structure, faults, true)
	if err != nil {
		err = fmt.Errorf("the file is damaged (%s) and could not be rebuilt: %w", faults[0], err)
	}
	return h, errors.Join(err, file.Close())
}

// rootAge checks whether the last transaction wrote the root page.
func rootAge(content *boltfile.File) boltfile.RootAge {
	number := content.Get(metaBucket, transactionKey)
	switch {
	case len(number) != 8:
		return boltfile.RootUnknown
	case binary.BigEndian.Uint64(number) == content.Transaction():
		return boltfile.RootCurrent
	}
	return boltfile.RootOutdated
}

// structureFaults describes a file's damaged pages and missing buckets.
func (f format) structureFaults(structure *boltfile.Structure) (faults []string) {
	content := structure.File()
	found, more := structure.Faults()
	for _, fault := range found {
		faults = append(faults, fault.String())
	}
	if more > 0 {
		faults = append(faults, fmt.Sprintf("and %d more faults", more))
	}
	if f.damaged(content) {
		faults = append(faults, "its format name is missing or damaged")
	}
	for _, name := range f.missingBuckets(content) {
		faults = append(faults, fmt.Sprintf("its bucket %q is missing", name))
	}
	return faults
}

// missingBuckets returns the required buckets that are missing from the root. An optional
// bucket counts as missing if the root has a bucket whose name differs from the optional one's
// by a single bit. A newer version may have added other unknown buckets.
func (f format) missingBuckets(content *boltfile.File) (missing [][]byte) {
	for _, name := range append(f.buckets(), metaBucket) {
		if !content.HasBucket(name) {
			missing = append(missing, name)
		}
	}
	for _, name := range f.optionalBuckets() {
		if !content.HasBucket(name) &&
			slices.ContainsFunc(content.Buckets(),
				func(other string) bool { return bitsDiffer(other, string(name)) == 1 }) {
			missing = append(missing, name)
		}
	}
	return missing
}

// bitsDiffer returns the number of bits in which two names differ, or -1 if their lengths
// differ.
func bitsDiffer(a, b string) (n int) {
	if len(a) != len(b) {
		return -1
	}
	for i := range len(a) {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n
}

// prepare checks the schema, syncs the last transaction, which a killed process may have left
// unsynced, and reads the number of the last change.
func (b *Backend) prepare(h *handle) error {
	if err := b.viewNow(b.format.checkSchema); err != nil {
		return err
	}
	if err := h.resync(); err != nil {
		return err
	}
	var identified bool
	err := b.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		b.sequence.Store(meta.Sequence())
		identified = len(meta.Get(identityKey)) == identityLength
		return nil
	})
	if err != nil || identified {
		return err
	}
	return b.update(func(tx *bbolt.Tx) error { return putIdentity(tx.Bucket(metaBucket)) })
}

// verifyRecordsSlowly checks slowStep records and then pauses for slowPause times as long as that
// took. At full speed, checking a million tokens would keep a processor from serving requests for
// half a minute.
const (
	slowStep  = 500
	slowPause = 19
)

// verifyRecordsSlowly is like verifyRecords, but uses only a twentieth of a processor.
func (b *Backend) verifyRecordsSlowly() {
	var begun time.Time
	b.verifyRecords(slowStep, func() bool {
		if !begun.IsZero() {
			b.background.pause(slowPause * time.Since(begun))
		}
		begun = time.Now()
		return b.closed.Load()
	})
}

// verifyRecords reads every record, step records per transaction, and rebuilds the file if a
// record is damaged or records contradict each other. It ends if stop returns true.
func (b *Backend) verifyRecords(step int, stop func() bool) {
	var report Report
	err := b.format.checkRecords(b.view, step, &report, stop)
	switch {
	case b.closed.Load():
		return
	case err != nil:
		report.add("%v", err)
	}
	b.health.setDamaged(len(report.Damaged))
	if len(report.Problems) > 0 {
		b.repairRecords(b.current.Load(), report.Problems)
	}
}
