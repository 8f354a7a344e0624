package tokenstore

import (
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
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
	usageLastScope // scope of the last use; no longer written, ignored when read
	usageResource
)

// EncodeUsage encodes a token's usage as the record that a backend stores under the token's
// ID. The record includes only the last day of u.Days.
func EncodeUsage(id token.ID, u Usage) []byte {
	b := make([]byte, 0, 192)
	b = wire.AppendUint(b, usageAllowed, u.Allowed)
	b = wire.AppendUint(b, usageDenied, u.Denied)
	b = wire.AppendTime(b, usageLastTime, u.Last.Time)
	b = wire.AppendString(b, usageLastIP, u.Last.IP)
	b = wire.AppendString(b, usageLastUserAgent, u.Last.UserAgent)
	b = wire.AppendString(b, usageLastRoute, u.Last.Route)
	if days := len(u.Days); days > 0 && len(u.Days[days-1].Points) > 0 {
		today := u.Days[days-1]
		b = wire.AppendUint(b, usageDay, protowire.EncodeZigZag(int64(today.Day))+1)
		b = appendPoints(b, usageCount, today)
	}
	b = wire.AppendTime(b, usagePreviousTime, u.Previous.Time)
	b = wire.AppendString(b, usagePreviousIP, u.Previous.IP)
	b = wire.AppendString(b, usagePreviousUserAgent, u.Previous.UserAgent)
	b = wire.AppendString(b, usagePreviousRoute, u.Previous.Route)
	for _, use := range u.Resources {
		value := protowire.AppendVarint(nil, protowire.EncodeZigZag(int64(use.Day)))
		b = wire.AppendBytes(b, usageResource, append(value, wire.ValidText(use.Pattern)...))
	}
	return wire.AddChecksum(usageRecord, id[:], b)
}

// DecodeUsage decodes the usage record stored under id. The error wraps [token.ErrDamaged].
// The returned usage shares no memory with the record.
func DecodeUsage(id token.ID, record []byte) (Usage, error) {
	return decodeUsage(id[:], record, false, true)
}

// decodeUsage decodes a usage record. It decodes the day only if withDay is set. If borrowed
// is set, the usage shares memory with the record.
func decodeUsage(key, record []byte, borrowed, withDay bool) (u Usage, err error) {
	fields, err := wire.VerifyChecksum(usageRecord, key, record)
	if err != nil {
		return Usage{}, err
	}
	var today DayUsage
	dated, counted := false, false
	err = wire.Each(fields, borrowed, func(number protowire.Number, f wire.Field) error {
		switch number {
		case usageAllowed:
			return f.SetUint(&u.Allowed)
		case usageDenied:
			return f.SetUint(&u.Denied)
		case usageLastTime:
			return f.SetTime(&u.Last.Time)
		case usageLastIP:
			return f.SetString(&u.Last.IP)
		case usageLastUserAgent:
			return f.SetString(&u.Last.UserAgent)
		case usageLastRoute:
			return f.SetString(&u.Last.Route)
		case usageDay:
			dated = true
			return setDay(f, &today)
		case usageCount:
			if !dated { // the counts' times can't be computed without the day
				return wire.ErrField
			}
			counted = true
			if !withDay {
				return nil
			}
			return addPoints(f, &today)
		case usagePreviousTime:
			return f.SetTime(&u.Previous.Time)
		case usagePreviousIP:
			return f.SetString(&u.Previous.IP)
		case usagePreviousUserAgent:
			return f.SetString(&u.Previous.UserAgent)
		case usagePreviousRoute:
			return f.SetString(&u.Previous.Route)
		case usageLastScope:
			return nil
		case usageResource:
			return addResourceUse(f, &u)
		}
		return wire.ErrUnknownField
	})
	if err == nil && dated != counted {
		err = wire.ErrField
	}
	if err != nil {
		return Usage{}, wire.Damaged(err)
	}
	if len(today.Points) > 0 {
		u.Days = []DayUsage{today}
	}
	return u, nil
}

// addResourceUse decodes a use of a resource: the day and the pattern.
func addResourceUse(f wire.Field, u *Usage) error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	day, n := protowire.ConsumeVarint(b)
	if n < 0 || protowire.DecodeZigZag(day) < math.MinInt32 || protowire.DecodeZigZag(day) > math.MaxInt32 {
		return wire.ErrField
	}
	use := ResourceUse{string(b[n:]), Day(protowire.DecodeZigZag(day))}
	last := len(u.Resources) - 1
	if use.Pattern == "" || !utf8.ValidString(use.Pattern) || last >= 0 && u.Resources[last].Pattern >= use.Pattern {
		return wire.ErrField
	}
	u.Resources = append(u.Resources, use)
	return nil
}

// Field numbers of a day's record.
const (
	dayWhole protowire.Number = iota + 1
	dayCount
)

// EncodeDay encodes one day of a token's usage as the record that a backend stores under key.
func EncodeDay(key []byte, d DayUsage) []byte {
	b := make([]byte, 0, 128)
	if d.Whole {
		b = wire.AppendUint(b, dayWhole, 1)
	}
	return wire.AddChecksum(dayRecord, key, appendPoints(b, dayCount, d))
}

// DecodeDay decodes a day's record stored under key. The error wraps [token.ErrDamaged].
func DecodeDay(key []byte, day Day, record []byte) (DayUsage, error) {
	d := DayUsage{Day: day}
	fields, err := wire.VerifyChecksum(dayRecord, key, record)
	if err != nil {
		return DayUsage{}, err
	}
	err = wire.Each(fields, false, func(number protowire.Number, f wire.Field) error {
		switch number {
		case dayWhole:
			if len(d.Points) > 0 { // already decoded as hourly counts
				return wire.ErrField
			}
			var whole int64
			d.Whole = true
			return f.SetPositive(&whole, 1)
		case dayCount:
			return addPoints(f, &d)
		}
		return wire.ErrUnknownField
	})
	if err != nil {
		return DayUsage{}, wire.Damaged(err)
	}
	return d, nil
}

// appendPoints appends one field per scope and outcome. The field contains the scope, the
// outcome and, for each hour with requests, the hour and the number of requests. For a day
// that is stored as a whole, the field contains a single number of requests instead.
func appendPoints(b []byte, number protowire.Number, d DayUsage) []byte {
	var value []byte
	for i, p := range d.Points {
		if i == 0 || compareCounts(d.Points[i-1], p) != 0 {
			value = protowire.AppendString(value[:0], wire.ValidText(p.Scope))
			value = protowire.AppendString(value, wire.ValidText(p.Outcome))
		}
		if !d.Whole {
			value = append(value, byte(p.Time.Hour()))
		}
		value = protowire.AppendVarint(value, p.Count)
		if i == len(d.Points)-1 || compareCounts(d.Points[i+1], p) != 0 {
			b = wire.AppendBytes(b, number, value)
		}
	}
	return b
}

// setDay decodes a day. Days are stored with one added, because zeros are not encoded.
func setDay(f wire.Field, d *DayUsage) error {
	var n uint64
	if err := f.SetUint(&n); err != nil {
		return err
	}
	day := protowire.DecodeZigZag(n - 1)
	if n == 0 || day < math.MinInt32 || day > math.MaxInt32 {
		return wire.ErrField
	}
	d.Day = Day(day)
	return nil
}

// addPoints decodes a day's points for one scope and outcome.
func addPoints(f wire.Field, d *DayUsage) error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	scope, b, err := wire.ConsumeText(b)
	if err != nil {
		return err
	}
	outcome, b, err := wire.ConsumeText(b)
	if err != nil {
		return err
	}
	p := Point{Scope: string(scope), Outcome: string(outcome)}
	if last := len(d.Points) - 1; len(b) == 0 || last >= 0 && compareCounts(d.Points[last], p) >= 0 {
		return wire.ErrField
	}
	for last := -1; len(b) > 0; {
		hour := 0
		if !d.Whole {
			hour, b = int(b[0]), b[1:]
		}
		n, length := protowire.ConsumeVarint(b)
		if hour <= last || hour >= hoursPerDay || length < 0 || n == 0 {
			return wire.ErrField
		}
		p.Time, p.Count = d.Day.Start().Add(time.Duration(hour)*time.Hour), n
		d.Points = append(d.Points, p)
		last, b = hour, b[length:]
	}
	return nil
}
