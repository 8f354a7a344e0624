package tokenstore

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of a kept request.
const (
	requestBody protowire.Number = iota + 1
	requestTokenID
	requestTime
)

// EncodeRequest returns the record of a kept request for a backend to keep under
// the request's key.
func EncodeRequest(r KeptRequest) []byte {
	b := make([]byte, 0, 64)
	b = appendDigest(b, requestBody, r.Body)
	b = appendBytes(b, requestTokenID, r.ID[:])
	b = appendTime(b, requestTime, r.Time)
	return seal(requestRecord, r.Key[:], b)
}

// DecodeRequest reads the record of the request that is kept under key. The error
// wraps [ErrDamaged].
func DecodeRequest(key Digest, record []byte) (KeptRequest, error) {
	fields, err := unseal(requestRecord, key[:], record)
	if err != nil {
		return KeptRequest{}, err
	}
	r := KeptRequest{Key: key}
	err = eachField(fields, false, func(number protowire.Number, f field) error {
		switch number {
		case requestBody:
			return f.setDigest(&r.Body)
		case requestTokenID:
			return f.setID(&r.ID)
		case requestTime:
			return f.setTime(&r.Time)
		}
		return errUnknownField
	})
	if err == nil && (r.Body.IsZero() || r.ID == ID{} || r.Time.IsZero()) {
		err = errors.New("a needed field is missing")
	}
	if err != nil {
		return KeptRequest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, nil
}
