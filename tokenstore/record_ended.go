package tokenstore

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// Field number of an EndedSecret.
const endedAt protowire.Number = 1

// EncodeEnded encodes an EndedSecret as the record that a backend stores under its digest.
func EncodeEnded(e EndedSecret) []byte {
	return wire.AddChecksum(endedRecord, e.Digest[:], wire.AppendTime(nil, endedAt, e.At))
}

// DecodeEnded decodes the EndedSecret stored under digest. The error wraps [token.ErrDamaged].
func DecodeEnded(digest token.Digest, record []byte) (EndedSecret, error) {
	fields, err := wire.VerifyChecksum(endedRecord, digest[:], record)
	if err != nil {
		return EndedSecret{}, err
	}
	e := EndedSecret{Digest: digest}
	err = wire.Each(fields, false, func(number protowire.Number, f wire.Field) error {
		if number == endedAt {
			return f.SetTime(&e.At)
		}
		return wire.ErrUnknownField
	})
	if err == nil && e.At.IsZero() {
		err = wire.ErrMissingField
	}
	if err != nil {
		return EndedSecret{}, wire.Damaged(err)
	}
	return e, nil
}
