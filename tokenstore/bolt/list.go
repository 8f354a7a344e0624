package bolt

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// List implements tokenstore.Backend.
func (b *Backend) List(order tokenstore.Order, after *tokenstore.Position, descending bool,
	yield func(*token.Token) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		tokens := tx.Bucket(tokensBucket).Cursor()
		cursor := tx.Bucket(orderBucket(order)).Cursor()
		next := cursor.Next
		if descending {
			next = cursor.Prev
		}
		for key := first(cursor, order, after, descending); key != nil; key, _ = next() {
			if len(key) != orderKeyLength {
				continue
			}
			// A token in the wrong position would make the next page start at that position.
			id := token.ID(key[orderTimeLength:])
			found, record := tokens.Seek(id[:])
			if !bytes.Equal(found, id[:]) {
				continue
			}
			tok, err := token.DecodeToken(id, record)
			if err != nil {
				tok = damagedAt(order, key)
			} else if !bytes.Equal(key, orderKey(order, tok)) {
				continue
			}
			if !yield(tok) {
				return nil
			}
		}
		return nil
	})
}

// damagedAt returns a damaged token whose time is taken from its key in the given sort order.
func damagedAt(order tokenstore.Order, key []byte) *token.Token {
	tok := &token.Token{ID: token.ID(key[orderTimeLength:]), Damaged: true}
	switch at := keyTime(key); {
	case order == tokenstore.OrderCreated:
		tok.CreatedAt = at
	case binary.BigEndian.Uint64(key) != math.MaxUint64:
		tok.ExpiresAt = at
	}
	return tok
}

func orderBucket(order tokenstore.Order) []byte {
	if order == tokenstore.OrderExpires {
		return expiresBucket
	}
	return createdBucket
}

// first returns the first key to list after the position, or the very first key if after is
// nil.
func first(cursor *bbolt.Cursor, order tokenstore.Order, after *tokenstore.Position, descending bool) []byte {
	if after == nil {
		if descending {
			key, _ := cursor.Last()
			return key
		}
		key, _ := cursor.First()
		return key
	}
	seen := positionKey(order, *after)
	key, _ := cursor.Seek(seen)
	switch {
	case descending && key == nil:
		key, _ = cursor.Last()
	case descending:
		key, _ = cursor.Prev()
	case bytes.Equal(key, seen):
		key, _ = cursor.Next()
	}
	return key
}

const (
	orderTimeLength = 8
	orderKeyLength  = orderTimeLength + len(token.ID{})
)

func orderKey(order tokenstore.Order, token *token.Token) []byte {
	return positionKey(order, order.PositionOf(token))
}

func positionKey(order tokenstore.Order, position tokenstore.Position) []byte {
	key := make([]byte, 0, orderKeyLength)
	if order == tokenstore.OrderExpires && position.Time.IsZero() {
		key = binary.BigEndian.AppendUint64(key, math.MaxUint64)
	} else {
		key = timeKey(key, position.Time)
	}
	return append(key, position.ID[:]...)
}

// timeKey appends a time to a key, using an encoding that sorts by time.
func timeKey(key []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(t.UnixMicro())^(1<<63))
}

// keyTime returns the time at the start of a key.
func keyTime(key []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(key) ^ (1 << 63))).UTC()
}
