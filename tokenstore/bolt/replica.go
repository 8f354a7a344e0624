package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Replica is a local copy of tokens kept elsewhere, together with this node's own usage and a
// copy of the other nodes' usage. Its file has the buckets of a store and a few more, but a store
// and a replica can't be opened as each other.
//
// If the file is rebuilt because it is damaged, the replica may lack records; [Replica.Note] then
// reports that it is incomplete.
type Replica struct{ *Backend }

// OpenReplica is like [Open] for a replica.
func OpenReplica(path string) (*Replica, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening token store: %w", err)
	}
	b, err := replicaFormat.openBackend(path)
	if err != nil {
		return nil, err
	}
	return &Replica{b}, nil
}

// InspectReplica is like [Inspect] for a replica.
func InspectReplica(path string) error { return replicaFormat.inspect(path) }

// Update is a set of changes that [Replica.Follow] makes in one transaction, in the order of the
// fields.
type Update struct {
	Records []Record
	// ForgetNodes lists other nodes whose usage is removed.
	ForgetNodes []string
	// ForgetOwn removes this node's own usage, days, totals and refusals, but not the flush
	// state.
	ForgetOwn bool
	Usage     []NodeUsage
	Totals    []NodeTotal
	// Times holds the times to store: Announced and BackedUp, unless they are zero, and Recorded,
	// if it is later than the stored time.
	Times tokenstore.State
	// Note replaces the replica's note unless it is nil.
	Note []byte
	// Complete is set if the replica has all records after this update, even if it lacked some
	// before; see [Replica.Note].
	Complete bool
}

// Follow makes all changes in u. They are on disk when Follow returns.
//
// A token record that can't be decoded makes the token damaged: its secrets are still known, but
// it can't be used until a later Update replaces the record with a good one or deletes it. The same
// happens to a token if another token's record has one of its secrets. Follow skips other records
// that can't be decoded, records with invalid keys, usage of invalid node names and usage of tokens
// that don't exist. Deleting a token deletes its usage at all nodes.
func (r *Replica) Follow(u Update) error {
	damaged := 0
	err := r.update(func(tx *bbolt.Tx) (err error) {
		if damaged, err = followRecords(tx, u.Records); err != nil {
			return err
		}
		if err := followUsage(tx, u); err != nil {
			return err
		}
		return errors.Join(
			putTimes(tx, tokenstore.State{Announced: u.Times.Announced, BackedUp: u.Times.BackedUp}),
			recordTime(tx, u.Times.Recorded),
			putNote(tx, u.Note, u.Complete))
	})
	if err == nil {
		r.health.addDamaged(damaged)
	}
	return err
}

var errUnreadable = fmt.Errorf("%w: its record in the shared store can't be read, "+
	"possibly because a newer version of Mollygate wrote it; update this node, or delete the token", token.ErrDamaged)

// Token implements tokenstore.Backend.
func (r *Replica) Token(id token.ID) (*token.Token, error) {
	tok, err := r.Backend.Token(id)
	if errors.Is(err, errLost) {
		err = errUnreadable
	}
	return tok, err
}

var errApply = fmt.Errorf("%w: a replica changes only by following", tokenstore.ErrUnavailable)

// Apply returns an error, because a replica changes only by following.
func (r *Replica) Apply(token.ID, time.Time, tokenstore.ChangeFunc) (*token.Token, error) {
	return nil, errApply
}
