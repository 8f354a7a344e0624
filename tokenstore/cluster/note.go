package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

const (
	// formatName identifies the shared store's format.
	formatName = "mollygate shared tokens"
	// newestSchema is the newest version that this code knows.
	newestSchema = 1
)

// description is the shared store's description of itself: the record under storeKey.
type description struct {
	Format string `json:"format"`
	Schema int    `json:"schema"`
	// Identity is the same for the store's whole life. It tells the store from a new one under
	// the same prefix.
	Identity string `json:"identity"`
	// Generation is the number of the generation in use.
	Generation uint64 `json:"generation"`
	// Lineage changes when an admin accepts a store that has lost changes.
	Lineage string `json:"lineage"`
	// Sealed is set if the records have a message authentication code.
	Sealed bool `json:"sealed,omitempty"`
}

// describe decodes a description and returns an error if this version or its configuration
// can't use the store.
func (b *Backend) describe(record []byte) (d description, err error) {
	seal := b.seal
	// Read Sealed first: without the right key, the reason is more useful than the damage.
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(record)).Decode(&raw); err == nil {
		err = json.Unmarshal(raw, &d)
		switch {
		case err != nil || d.Format != formatName:
			return d, fmt.Errorf("the record %q isn't Mollygate's: another program uses the same prefix; "+
				"configure another one", storeKey)
		case d.Sealed && !seal.sealed():
			return d, fmt.Errorf("the shared store's records are signed: configure the gates' record_key")
		case !d.Sealed && seal.sealed():
			return d, fmt.Errorf("the shared store's records aren't signed: remove record_key, " +
				"or restore a backup into the store with record_key configured")
		case d.Schema > b.options.Schema:
			return d, fmt.Errorf("the shared store has schema version %d, but this Mollygate supports version %d: "+
				"run the version that wrote it, or a newer one", d.Schema, b.options.Schema)
		}
	}
	if record, err = seal.open(storeKey, record); err != nil {
		return d, fmt.Errorf("record_key differs from the one that the shared store's records are signed with: %w", err)
	}
	if err := json.Unmarshal(record, &d); err != nil {
		return d, fmt.Errorf("%w: the record %q: %w", token.ErrDamaged, storeKey, err)
	}
	b.schema.Store(int64(d.Schema))
	return d, nil
}

func (d description) encode(seal sealer) []byte {
	record, err := json.Marshal(d)
	if err != nil {
		panic(err) // can't fail: all fields are numbers and strings
	}
	return seal.seal(storeKey, record)
}

// note is what a node remembers about the shared store. It is stored in the replica, in the
// same transaction as the changes it describes.
type note struct {
	// Node is the node's ID.
	Node string `json:"node"`

	Identity   string `json:"identity,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	Lineage    string `json:"lineage,omitempty"`
	// Revision is the revision up to which the replica has all changes. If it is 0, the replica
	// has none, or only some.
	Revision int64 `json:"revision,omitempty"`
	// LastChange is the key of the newest change's audit record, and LastRevision is that
	// record's revision. A store without this record has lost changes.
	LastChange   string `json:"last_change,omitempty"`
	LastRevision int64  `json:"last_revision,omitempty"`
	// Anchor is a record of one of the newest commits up to Revision.
	Anchor anchor `json:"anchor,omitzero"`
	// AsOf is the time as of which the replica is known to be complete.
	AsOf time.Time `json:"as_of,omitzero"`
}

// lastKeys returns the key of the newest change's audit record, if there is one.
func (n note) lastKeys() []string {
	if n.LastChange == "" {
		return nil
	}
	return []string{n.LastChange}
}

// lacks reports whether a store whose records under [note.lastKeys] are given lacks the newest
// change. Another node may have pruned an old change's record, but only after a newer change.
func (n note) lacks(last []Record) bool { return len(last) > 0 && last[0].Revision != n.LastRevision }

func (n note) encode() []byte {
	record, err := json.Marshal(n)
	if err != nil {
		panic(err) // can't fail: all fields are numbers, strings and times
	}
	return record
}

// readNote returns the replica's note, or the zero note if it has none.
func readNote(replica *bolt.Replica) (n note, err error) {
	record, complete, err := replica.Note()
	if err != nil {
		return n, err
	}
	if record == nil {
		return note{}, nil
	}
	if err := json.Unmarshal(record, &n); err != nil || n.Node == "" {
		return n, fmt.Errorf("%w: the replica's note can't be read", token.ErrDamaged)
	}
	if !complete {
		n.Revision = 0
	}
	return n, nil
}
