package bolt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mollygate/mollygate/tokenstore"
)

// Backup returns a store with the shared records, which [Open] opens. Each token's usage is the
// sum of all nodes' usage. The refusals are this node's only, because a replica has no others.
//
// If Backup finds a damaged page or record, it starts a rebuild of the replica and returns an error.
// It doesn't fail because of a token that is already known to be damaged. That token is damaged in
// the backup too. So is a token whose secret was taken out of service, because a store can't have
// such a token.
//
// Backup first copies the replica and then rebuilds the copy as a store. It therefore needs twice
// the replica's size in the directory of the replica or in the temporary directory.
func (r *Replica) Backup() (content io.ReadCloser, length int64, err error) {
	h := r.current.Load()
	snapshot, _, err := r.snapshot()
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	structure, err := verify(snapshot)
	if err != nil {
		return nil, 0, err
	}
	if faults := r.format.structureFaults(structure); len(faults) > 0 {
		what := strings.Join(faults, "; ")
		r.repairLater(h, errors.New(what))
		return nil, 0, damagedCopy(what)
	}
	draft, err := r.tempFile()
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err = errors.Join(err, os.Remove(draft.Name())); err != nil {
			err = errors.Join(err, draft.Close())
		}
	}()
	// bbolt opens the file again, by its name.
	lost, err := rebuild(structure, draft.Name(), storeFormat, false)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: copying the token store: %w", tokenstore.ErrUnavailable, err)
	}
	if len(lost.Records) > 0 {
		what := fmt.Sprintf("lost from %s: %s", lost.Records[0].Bucket, lost.Records[0].What)
		if !h.repairs.Swap(true) {
			r.background.start(func() { r.repairRecords(h, []string{what}) })
		}
		return nil, 0, damagedCopy(what)
	}
	return draft, fileLength(draft), nil
}

// damagedCopy returns the error for a damaged replica that is being rebuilt.
func damagedCopy(what string) error {
	return fmt.Errorf("%w: %w (%s); this gate rebuilds its copy of the shared store: try again in a few minutes",
		tokenstore.ErrUnavailable, errDamage, what)
}
