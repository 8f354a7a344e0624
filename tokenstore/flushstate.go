package tokenstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// FlushState says which counted requests the saved usage includes. A backend stores it
// together with the usage, in one transaction, so that each request is counted exactly
// once, whenever the process is killed. A new store has the zero FlushState.
type FlushState struct {
	// Journal identifies the file of the journal that the positions belong to.
	Journal uint64
	// Saved is how far the journal is saved.
	Saved journal.Position
	// Part is how far it is saved for the tokens with ids up to Last: a flush of many
	// tokens takes several transactions.
	Part journal.Position
	Last token.ID
	// Flush is the number of the newest flush. Unless it is Whole, it is saved for the
	// tokens with ids up to Last.
	Flush uint64
	Whole bool
}

// includes reports whether the saved usage of a token includes what a flush brings.
func (s *FlushState) includes(flush uint64, id token.ID) bool {
	return s.Flush > flush || s.Flush == flush && (s.Whole || bytes.Compare(id[:], s.Last[:]) <= 0)
}

// replays reports whether an entry of the journal is not included.
func (s *FlushState) replays(ring int, at uint64, id token.ID) bool {
	return at >= s.Part[ring] || at >= s.Saved[ring] && bytes.Compare(id[:], s.Last[:]) > 0
}

// EncodeFlushState returns the record of a state for a backend to keep under key.
func EncodeFlushState(key []byte, s FlushState) []byte {
	b, _ := binary.Append(nil, binary.BigEndian, s) // has a fixed size
	return wire.AddChecksum(flushRecord, key, b)
}

// DecodeFlushState reads the state kept under key. The error wraps [token.ErrDamaged].
func DecodeFlushState(key, record []byte) (s FlushState, err error) {
	b, err := wire.VerifyChecksum(flushRecord, key, record)
	if err != nil {
		return s, err
	}
	if _, err := binary.Decode(b, binary.BigEndian, &s); err != nil || len(b) != binary.Size(s) {
		return FlushState{}, fmt.Errorf("%w: the state of the flushes has a wrong length", token.ErrDamaged)
	}
	return s, nil
}
