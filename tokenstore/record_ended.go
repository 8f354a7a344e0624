package tokenstore

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of a secret that was taken out of service.
const endedAt protowire.Number = 1

// EncodeEnded returns the record of a secret that was taken out of service, for a
// backend to keep under its digest.
func EncodeEnded(e EndedSecret) []byte {
	return seal(endedRecord, e.Digest[:], appendTime(nil, endedAt, e.At))
}

// DecodeEnded reads the record of a secret that was taken out of service, kept under
// its digest. The error wraps [ErrDamaged].
func DecodeEnded(digest Digest, record []byte) (EndedSecret, error) {
	fields, err := unseal(endedRecord, digest[:], record)
	if err != nil {
		return EndedSecret{}, err
	}
	e := EndedSecret{Digest: digest}
	err = eachField(fields, false, func(number protowire.Number, f field) error {
		if number == endedAt {
			return f.setTime(&e.At)
		}
		return errUnknownField
	})
	if err == nil && e.At.IsZero() {
		err = errors.New("a needed field is missing")
	}
	if err != nil {
		return EndedSecret{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return e, nil
}
