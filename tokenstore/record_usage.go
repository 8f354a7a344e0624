package tokenstore

import (
	"fmt"
	"math"
	"time"

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
	usageDay
	usageCount
	usagePreviousTime
	usagePreviousIP
	usagePreviousUserAgent
	usagePreviousRoute
	usageLastScope // of the last use; no longer written or read
)

// EncodeUsage returns the record of a token's usage for a backend to keep under
// the token's id, with the last of its days.
func EncodeUsage(id ID, u Usage) []byte {
	b := make([]byte, 0, 192)
	b = appendUint(b, usageAllowed, u.Allowed)
	b = appendUint(b, usageDenied, u.Denied)
	b = appendTime(b, usageLastTime, u.Last.Time)
	b = appendString(b, usageLastIP, u.Last.IP)
	b = appendString(b, usageLastUserAgent, u.Last.UserAgent)
	b = appendString(b, usageLastRoute, u.Last.Route)
	if days := len(u.Days); days > 0 && len(u.Days[days-1].Points) > 0 {
		today := u.Days[days-1]
		b = appendUint(b, usageDay, protowire.EncodeZigZag(int64(today.Day))+1)
		b = appendPoints(b, usageCount, today)
	}
	b = appendTime(b, usagePreviousTime, u.Previous.Time)
	b = appendString(b, usagePreviousIP, u.Previous.IP)
	b = appendString(b, usagePreviousUserAgent, u.Previous.UserAgent)
	b = appendString(b, usagePreviousRoute, u.Previous.Route)
	return seal(usageRecord, id[:], b)
}

// DecodeUsage reads the usage record kept under id. The error wraps [ErrDamaged].
// The usage shares no memory with the record.
func DecodeUsage(id ID, record []byte) (Usage, error) { return decodeUsage(id[:], record, false, true) }

// decodeUsage reads the day only if it is asked for.
func decodeUsage(key, record []byte, borrowed, withDay bool) (u Usage, err error) {
	fields, err := unseal(usageRecord, key, record)
	if err != nil {
		return Usage{}, err
	}
	var today DayUsage
	dated, counted := false, false
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
		case usageDay:
			dated = true
			return f.setDay(&today)
		case usageCount:
			counted = true
			if !withDay {
				return nil
			}
			return f.addPoints(&today)
		case usagePreviousTime:
			return f.setTime(&u.Previous.Time)
		case usagePreviousIP:
			return f.setString(&u.Previous.IP)
		case usagePreviousUserAgent:
			return f.setString(&u.Previous.UserAgent)
		case usagePreviousRoute:
			return f.setString(&u.Previous.Route)
		case usageLastScope:
			return nil
		}
		return errUnknownField
	})
	if err == nil && dated != counted {
		err = errSpelling
	}
	if err != nil {
		return Usage{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(today.Points) > 0 {
		u.Days = []DayUsage{today}
	}
	return u, nil
}

// Field numbers of a day's record.
const (
	dayWhole protowire.Number = iota + 1
	dayCount
)

// EncodeDay returns the record of one day of a token's usage for a backend to keep
// under the key.
func EncodeDay(key []byte, d DayUsage) []byte {
	b := make([]byte, 0, 128)
	if d.Whole {
		b = appendUint(b, dayWhole, 1)
	}
	return seal(dayRecord, key, appendPoints(b, dayCount, d))
}

// DecodeDay reads the record of a day kept under the key. The error wraps
// [ErrDamaged].
func DecodeDay(key []byte, day Day, record []byte) (DayUsage, error) {
	d := DayUsage{Day: day}
	fields, err := unseal(dayRecord, key, record)
	if err != nil {
		return DayUsage{}, err
	}
	err = eachField(fields, false, func(number protowire.Number, f field) error {
		switch number {
		case dayWhole:
			if !f.once(protowire.VarintType) || f.uint != 1 {
				return errSpelling
			}
			d.Whole = true
			return nil
		case dayCount:
			return f.addPoints(&d)
		}
		return errUnknownField
	})
	if err != nil {
		return DayUsage{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return d, nil
}

// appendPoints writes a field for each scope and outcome: these two, then each hour that
// has requests and their number, or only the number of the whole day.
func appendPoints(b []byte, number protowire.Number, d DayUsage) []byte {
	var value []byte
	for i, p := range d.Points {
		if i == 0 || compareCounts(d.Points[i-1], p) != 0 {
			value = protowire.AppendString(value[:0], validText(p.Scope))
			value = protowire.AppendString(value, validText(p.Outcome))
		}
		if !d.Whole {
			value = append(value, byte(p.Time.Hour()))
		}
		value = protowire.AppendVarint(value, p.Count)
		if i == len(d.Points)-1 || compareCounts(d.Points[i+1], p) != 0 {
			b = appendBytes(b, number, value)
		}
	}
	return b
}

// setDay reads a day, which is written plus one because zeros aren't.
func (f field) setDay(d *DayUsage) error {
	if !f.once(protowire.VarintType) || f.uint == 0 {
		return errSpelling
	}
	day := protowire.DecodeZigZag(f.uint - 1)
	if day < math.MinInt32 || day > math.MaxInt32 {
		return errSpelling
	}
	d.Day = Day(day)
	return nil
}

// addPoints reads the points of a scope and outcome on a day.
func (f field) addPoints(d *DayUsage) error {
	if f.wireType != protowire.BytesType {
		return errSpelling
	}
	scope, b, err := consumeText(f.bytes)
	if err != nil {
		return err
	}
	outcome, b, err := consumeText(b)
	if err != nil {
		return err
	}
	p := Point{Scope: string(scope), Outcome: string(outcome)}
	if last := len(d.Points) - 1; len(b) == 0 || last >= 0 && compareCounts(d.Points[last], p) >= 0 {
		return errSpelling
	}
	for last := -1; len(b) > 0; {
		hour := 0
		if !d.Whole {
			hour, b = int(b[0]), b[1:]
		}
		n, length := protowire.ConsumeVarint(b)
		if hour <= last || hour >= hoursPerDay || length < 0 || n == 0 {
			return errSpelling
		}
		p.Time, p.Count = d.Day.Start().Add(time.Duration(hour)*time.Hour), n
		d.Points = append(d.Points, p)
		last, b = hour, b[length:]
	}
	return nil
}
