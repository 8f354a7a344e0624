package tokenstore

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// Field numbers of a KeptRequest.
const (
	requestBody protowire.Number = iota + 1
	requestTokenID
	requestTime
)

// EncodeRequest encodes a KeptRequest as the record that a backend stores under its key.
func EncodeRequest(r KeptRequest) []byte {
	b := make([]byte, 0, 64)
	b = wire.AppendBytes(b, requestBody, r.Body[:])
	b = wire.AppendBytes(b, requestTokenID, r.ID[:])
	b = wire.AppendTime(b, requestTime, r.Time)
	return wire.AddChecksum(requestRecord, r.Key[:], b)
}

// DecodeRequest decodes the KeptRequest stored under key. The error wraps [token.ErrDamaged].
func DecodeRequest(key token.Digest, record []byte) (KeptRequest, error) {
	fields, err := wire.VerifyChecksum(requestRecord, key[:], record)
	if err != nil {
		return KeptRequest{}, err
	}
	r := KeptRequest{Key: key}
	err = wire.Each(fields, false, func(number protowire.Number, f wire.Field) error {
		switch number {
		case requestBody:
			return f.SetFixed(r.Body[:])
		case requestTokenID:
			return f.SetFixed(r.ID[:])
		case requestTime:
			return f.SetTime(&r.Time)
		}
		return wire.ErrUnknownField
	})
	if err == nil && (r.Body.IsZero() || r.ID == token.ID{} || r.Time.IsZero()) {
		err = wire.ErrMissingField
	}
	if err != nil {
		return KeptRequest{}, wire.Damaged(err)
	}
	return r, nil
}
