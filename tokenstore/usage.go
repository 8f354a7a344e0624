package tokenstore

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// maxCount is the largest value that a count can reach. If a count wrapped around to zero, the
// limits based on it would no longer work.
const maxCount = math.MaxInt64

// Usage is a token's usage, or a difference to add to a token's usage. Counts are totals since
// the token's creation and stop at the largest int64.
type Usage struct {
	// Allowed is the number of requests that the gate allowed. Denied is the number of
	// requests refused despite a correct secret.
	Allowed uint64
	Denied  uint64
	Last    LastUse
	// Previous is the newest allowed request that used a previous secret.
	Previous LastUse
	// Days contains the requested days in order, without duplicates.
	Days []DayUsage
	// Refusals, in a difference, contains the difference's newest refusals, oldest first.
	// [Store.Refusals] returns those of a token.
	Refusals []Refusal
}

// LastUse describes the newest allowed request. The zero value means that the token was never
// used.
type LastUse struct {
	// Time has microsecond precision.
	Time      time.Time
	IP        string
	UserAgent string
	// Route is the "METHOD /path" of the matched route, not the path of the request.
	Route string
}

// Plus returns the sum of u and more.
func (u Usage) Plus(more Usage) Usage {
	u.Allowed, u.Denied = sum(u.Allowed, more.Allowed), sum(u.Denied, more.Denied)
	u.Last, u.Previous = u.Last.newer(more.Last), u.Previous.newer(more.Previous)
	u.Refusals = MergeRefusals(u.Refusals, more.Refusals)
	u.Days = slices.Clone(u.Days)
	for _, day := range more.Days {
		i, found := slices.BinarySearchFunc(u.Days, day, func(a, b DayUsage) int { return cmp.Compare(a.Day, b.Day) })
		if found {
			u.Days[i] = u.Days[i].Plus(day)
		} else {
			u.Days = slices.Insert(u.Days, i, day)
		}
	}
	return u
}

// newer returns the newer of two uses.
func (u LastUse) newer(other LastUse) LastUse {
	if other.Time.Before(u.Time) {
		return u
	}
	return other
}

func sum(a, b uint64) uint64 { return min(min(a, maxCount)+min(b, maxCount), maxCount) }

// CountAllowed counts a request that the gate allowed for the given scope. It doesn't wait for
// the backend or the disk.
func (s *Store) CountAllowed(m Match, scope string, use LastUse) {
	s.count(&journalEntry{
		id: m.Token.ID, at: use.Time.UnixMicro(), previous: m.Previous,
		outcome: OutcomeOK, scope: scope, route: use.Route, address: use.IP, agent: use.UserAgent,
	})
}

// CountDenied counts a request that was refused despite a correct secret. The refusal's path
// must not contain a token. Like CountAllowed, it doesn't wait for the backend or the disk.
func (s *Store) CountDenied(m Match, r Refusal) {
	s.count(&journalEntry{
		id: m.Token.ID, at: r.Time.UnixMicro(), outcome: r.Code, scope: r.Scope,
		method: r.Method, route: r.Path, address: r.IP, agent: r.UserAgent,
	})
	s.publishUsedAfterRevoke(m, r.Time)
}
