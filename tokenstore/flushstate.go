package tokenstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// FlushState records which counted requests the saved usage includes. A backend stores the
// state and the usage in one transaction. Each request therefore counts exactly once no matter
// when the process is killed. A new store has the zero FlushState.
type FlushState struct {
	// Journal is the ID of the journal that the positions refer to.
	Journal uint64
	// Saved is the position up to which the journal has been saved.
	Saved journal.Position
	// Part is the position up to which the journal has been saved for tokens with IDs up to
	// Last. It is needed because a flush of many tokens takes several transactions.
	Part journal.Position
	Last token.ID
	// Flush is the number of the latest flush. If Whole is false, the flush has been saved
	// only for tokens with IDs up to Last.
	Flush uint64
	Whole bool
}

// includes reports whether the token's saved usage includes the given flush.
func (s *FlushState) includes(flush uint64, id token.ID) bool {
	return s.Flush > flush || s.Flush == flush && (s.Whole || bytes.Compare(id[:], s.Last[:]) <= 0)
}

// replays reports whether a journal entry must be replayed because the saved usage doesn't
// include it.
func (s *FlushState) replays(ring int, at uint64, id token.ID) bool {
	return at >= s.Part[ring] || at >= s.Saved[ring] && bytes.Compare(id[:], s.Last[:]) > 0
}

// EncodeFlushState encodes a FlushState as the record that a backend stores under key.
func EncodeFlushState(key []byte, s FlushState) []byte {
	b, _ := binary.Append(nil, binary.BigEndian, s) // can't fail: the size is fixed
	return wire.AddChecksum(flushRecord, key, b)
}

// DecodeFlushState decodes the state stored under key. The error wraps [token.ErrDamaged].
func DecodeFlushState(key, record []byte) (s FlushState, err error) {
	b, err := wire.VerifyChecksum(flushRecord, key, record)
	if err != nil {
		return s, err
	}
	if _, err := binary.Decode(b, binary.BigEndian, &s); err != nil || len(b) != binary.Size(s) {
		return FlushState{}, fmt.Errorf("%w: the flush state has the wrong length", token.ErrDamaged)
	}
	return s, nil
}
