package tokenstore

import (
	"fmt"
	"math"

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
	usageLastScope // of the last use; no longer written
)

// EncodeUsage returns the record of a token's usage for a backend to keep under
// the token's id, with the last of its days.
func EncodeUsage(u UsageOf) []byte {
	b := make([]byte, 0, 192)
	b = appendUint(b, usageAllowed, u.Allowed)
	b = appendUint(b, usageDenied, u.Denied)
	b = appendTime(b, usageLastTime, u.Last.Time)
	b = appendString(b, usageLastIP, u.Last.IP)
	b = appendString(b, usageLastUserAgent, u.Last.UserAgent)
	b = appendString(b, usageLastRoute, u.Last.Route)
	if days := len(u.Days); days > 0 && len(u.Days[days-1].Counts) > 0 {
		today := u.Days[days-1]
		b = appendUint(b, usageDay, protowire.EncodeZigZag(int64(today.Day))+1)
		b = appendCounts(b, usageCount, today)
	}
	b = appendTime(b, usagePreviousTime, u.Previous.Time)
	b = appendString(b, usagePreviousIP, u.Previous.IP)
	b = appendString(b, usagePreviousUserAgent, u.Previous.UserAgent)
	b = appendString(b, usagePreviousRoute, u.Previous.Route)
	return seal(usageRecord, u.ID[:], b)
}

// DecodeUsage reads the usage record kept under id. The error wraps [ErrDamaged].
// The usage shares no memory with the record.
func DecodeUsage(id ID, record []byte) (UsageOf, error) {
	used := UsageOf{ID: id}
	var today DayUsage
	var err error
	if used.Usage, err = decodeUsage(id[:], record, false, &today, &used); err != nil {
		return UsageOf{}, err
	}
	if len(today.Counts) > 0 {
		used.Days = []DayUsage{today}
	}
	return used, nil
}

// decodeUsage reads the day, too, unless today is nil, and what else there is into rest.
func decodeUsage(key, record []byte, borrowed bool, today *DayUsage, rest *UsageOf) (Usage, error) {
	fields, err := unseal(usageRecord, key, record)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
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
			return f.setDay(today)
		case usageCount:
			counted = true
			if today == nil {
				return nil
			}
			return f.addCount(today)
		case usagePreviousTime:
			return f.setTime(&rest.Previous.Time)
		case usagePreviousIP:
			return f.setString(&rest.Previous.IP)
		case usagePreviousUserAgent:
			return f.setString(&rest.Previous.UserAgent)
		case usagePreviousRoute:
			return f.setString(&rest.Previous.Route)
		case usageLastScope:
			return f.setString(&rest.LastScope)
		}
		return errUnknownField
	})
	if err == nil && dated != counted {
		err = errSpelling
	}
	if err != nil {
		return Usage{}, fmt.Errorf("%w: %w", ErrDamaged, err)
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
	return seal(dayRecord, key, appendCounts(b, dayCount, d))
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
			return f.addCount(&d)
		}
		return errUnknownField
	})
	if err != nil {
		return DayUsage{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return d, nil
}

// appendCounts writes a field for each count that isn't zero: the scope, the
// outcome, then each hour that isn't zero and its number, or that of the whole day.
func appendCounts(b []byte, number protowire.Number, d DayUsage) []byte {
	var value []byte
	for _, count := range d.Counts {
		value = protowire.AppendString(value[:0], validText(count.Scope))
		value = protowire.AppendString(value, validText(count.Outcome))
		texts := len(value)
		for hour, n := range count.Hours {
			if n == 0 {
				continue
			}
			if !d.Whole {
				value = append(value, byte(hour))
			}
			value = protowire.AppendVarint(value, n)
		}
		if len(value) > texts {
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
	if d != nil {
		d.Day = Day(day)
	}
	return nil
}

// addCount reads a count, which comes after the one before.
func (f field) addCount(d *DayUsage) error {
	if f.wireType != protowire.BytesType {
		return errSpelling
	}
	var count Count
	scope, b, err := consumeText(f.bytes)
	if err != nil {
		return err
	}
	outcome, b, err := consumeText(b)
	if err != nil {
		return err
	}
	count.Scope, count.Outcome = string(scope), string(outcome)
	if len(b) == 0 || len(d.Counts) > 0 && compareCounts(d.Counts[len(d.Counts)-1], count) >= 0 {
		return errSpelling
	}
	for last := -1; len(b) > 0; {
		hour := 0
		if !d.Whole {
			hour, b = int(b[0]), b[1:]
		}
		n, length := protowire.ConsumeVarint(b)
		if hour <= last || hour >= hoursPerDay || length < 0 || length != protowire.SizeVarint(n) || n == 0 {
			return errSpelling
		}
		count.Hours[hour] = n
		last, b = hour, b[length:]
	}
	d.Counts = append(d.Counts, count)
	return nil
}
