package tokenstore

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of a usage record.
const (
	usageAllowed protowire.Number = iota + 1
	usageDenied
	usageLastTime
	usageLastIP
	usageLastUserAgent
	usageLastRoute
)

// EncodeUsage returns the record of a token's usage for a backend to keep under
// the token's id.
func EncodeUsage(u UsageOf) []byte {
	b := make([]byte, 0, 96)
	b = appendUint(b, usageAllowed, u.Allowed)
	b = appendUint(b, usageDenied, u.Denied)
	b = appendTime(b, usageLastTime, u.Last.Time)
	b = appendString(b, usageLastIP, u.Last.IP)
	b = appendString(b, usageLastUserAgent, u.Last.UserAgent)
	b = appendString(b, usageLastRoute, u.Last.Route)
	return seal(usageRecord, u.ID[:], b)
}

// DecodeUsage reads the usage record kept under id. The error wraps [ErrDamaged].
// The usage shares no memory with the record.
func DecodeUsage(id ID, record []byte) (Usage, error) { return decodeUsage(id[:], record, false) }

func decodeUsage(key, record []byte, borrowed bool) (Usage, error) {
	fields, err := unseal(usageRecord, key, record)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	err = eachField(fields, borrowed, func(number protowire.Number, f field) error {
		switch number {
		case usageAllowed:
			return f.setUint(&u.Allowed)
		case usageDenied:
			return f.setUint(&u.Denied)
		case usageLastTime:
			return f.setTime(&u.Last.Time)
		case usageLastIP:
			return f.setString(&u.Last.IP)
		case usageLastUserAgent:
			return f.setString(&u.Last.UserAgent)
		case usageLastRoute:
			return f.setString(&u.Last.Route)
		}
		return errUnknownField
	})
	if err != nil {
		return Usage{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return u, nil
}
