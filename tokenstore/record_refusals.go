package tokenstore

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// refusalField is the number of the only field in a refusals record. It is repeated: once per
// refusal, oldest first.
const refusalField protowire.Number = 1

// Field numbers within a refusal.
const (
	refusalTime protowire.Number = iota + 1
	refusalMethod
	refusalPath
	refusalScope
	refusalCode
	refusalIP
	refusalUserAgent
)

// EncodeRefusals encodes a token's refusals, oldest first, as the record that a backend stores
// under the token's ID.
func EncodeRefusals(id token.ID, refusals []Refusal) []byte {
	var b, one []byte
	for _, r := range refusals {
		one = wire.AppendTime(one[:0], refusalTime, r.Time)
		one = wire.AppendString(one, refusalMethod, r.Method)
		one = wire.AppendString(one, refusalPath, r.Path)
		one = wire.AppendString(one, refusalScope, r.Scope)
		one = wire.AppendString(one, refusalCode, r.Code)
		one = wire.AppendString(one, refusalIP, r.IP)
		one = wire.AppendString(one, refusalUserAgent, r.UserAgent)
		b = wire.AppendBytes(b, refusalField, one)
	}
	return wire.AddChecksum(refusalsRecord, id[:], b)
}

// DecodeRefusals decodes the refusals stored under id. The error wraps [token.ErrDamaged].
func DecodeRefusals(id token.ID, record []byte) (refusals []Refusal, err error) {
	fields, err := wire.VerifyChecksum(refusalsRecord, id[:], record)
	if err != nil {
		return nil, err
	}
	err = wire.Each(fields, false, func(number protowire.Number, f wire.Field) error {
		if number != refusalField {
			return wire.ErrUnknownField
		}
		b, err := f.Bytes()
		if err != nil {
			return err
		}
		r, err := decodeRefusal(b)
		refusals = append(refusals, r)
		return err
	})
	if err != nil {
		return nil, wire.Damaged(err)
	}
	return refusals, nil
}

func decodeRefusal(b []byte) (r Refusal, err error) {
	err = wire.Each(b, false, func(number protowire.Number, f wire.Field) error {
		switch number {
		case refusalTime:
			return f.SetTime(&r.Time)
		case refusalMethod:
			return f.SetString(&r.Method)
		case refusalPath:
			return f.SetString(&r.Path)
		case refusalScope:
			return f.SetString(&r.Scope)
		case refusalCode:
			return f.SetString(&r.Code)
		case refusalIP:
			return f.SetString(&r.IP)
		case refusalUserAgent:
			return f.SetString(&r.UserAgent)
		}
		return wire.ErrUnknownField
	})
	return r, err
}
