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
// Backup first copies the replica and then rebuilds the copy as a store. It therefore needs twice
// the replica's size in the directory of the replica or in the temporary directory.
func (r *Replica) Backup() (content io.ReadCloser, length int64, err error) {
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
		return nil, 0, damage(strings.Join(faults, "; "))
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
	if _, err := rebuild(structure, draft.Name(), storeFormat, false); err != nil {
		return nil, 0, fmt.Errorf("%w: copying the token store: %w", tokenstore.ErrUnavailable, err)
	}
	return draft, fileLength(draft), nil
}
