package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/mollygate/mollygate/token"
)

// sealer adds a message authentication code (HMAC-SHA-256) to records, so that somebody who can
// write to the shared store, but doesn't have the key, can't create or change a token. The code
// covers the record's key. It can't detect an old record that was put back; see [accept].
// Without a key, records are stored as they are.
type sealer struct{ key []byte }

// errSeal means that a record wasn't written by a node with the same record key.
var errSeal = errors.New("the record's signature is missing or wrong; " +
	"it was not written by a gate with this record_key")

// sealed reports whether records have a code.
func (s sealer) sealed() bool { return len(s.key) > 0 }

func (s sealer) seal(key string, record []byte) []byte {
	if !s.sealed() {
		return record
	}
	return append(slices.Clip(record), s.code(key, record)...)
}

// open returns the record without its code. The error wraps [token.ErrDamaged].
func (s sealer) open(key string, value []byte) ([]byte, error) {
	if !s.sealed() {
		return value, nil
	}
	end := len(value) - sha256.Size
	if end < 0 || !hmac.Equal(value[end:], s.code(key, value[:end])) {
		return nil, fmt.Errorf("%w: %w", token.ErrDamaged, errSeal)
	}
	return value[:end:end], nil
}

func (s sealer) code(key string, record []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(key))
	mac.Write([]byte{0})
	mac.Write(record)
	return mac.Sum(nil)
}

// isDamaged reports whether the error is about a record that can't be read.
func isDamaged(err error) bool { return errors.Is(err, token.ErrDamaged) }
