package tokenstore

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// Field numbers of a secret that was taken out of service.
const endedAt protowire.Number = 1

// EncodeEnded returns the record of a secret that was taken out of service, for a
// backend to keep under its digest.
func EncodeEnded(e EndedSecret) []byte {
	return wire.AddChecksum(endedRecord, e.Digest[:], wire.AppendTime(nil, endedAt, e.At))
}

// DecodeEnded reads the record of a secret that was taken out of service, kept under
// its digest. The error wraps [token.ErrDamaged].
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
