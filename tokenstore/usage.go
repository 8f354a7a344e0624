package tokenstore

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// maxCount is where counts stop rather than wrap: a total that restarted at zero would defeat
// every limit on it.
const maxCount = math.MaxInt64

// Usage is how a token has been used, or what came to that since it was last saved. Counts
// are totals since its creation and stop at the largest int64.
type Usage struct {
	// Allowed counts the requests that passed the gate, Denied those refused
	// although the secret was right.
	Allowed uint64
	Denied  uint64
	Last    LastUse
	// Previous is the newest allowed request with a secret from before a rotation.
	Previous LastUse
	// Days are the days that were asked for, in their order, each once.
	Days []DayUsage
}

// LastUse is the newest allowed request. The zero value is "never".
type LastUse struct {
	// Time has microseconds.
	Time      time.Time
	IP        string
	UserAgent string
	// Route is "METHOD /path" of the route, not of the request.
	Route string
}

// Plus returns the usage with what came to it.
func (u Usage) Plus(more Usage) Usage {
	u.Allowed, u.Denied = sum(u.Allowed, more.Allowed), sum(u.Denied, more.Denied)
	u.Last, u.Previous = u.Last.newer(more.Last), u.Previous.newer(more.Previous)
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

// CountAllowed counts a request for a scope that the gate let through. It waits neither
// for the backend nor for a disk.
func (s *Store) CountAllowed(m Match, scope string, use LastUse) {
	s.count(&counted{
		id: m.Token.ID, at: use.Time.UnixMicro(), previous: m.Previous,
		outcome: OutcomeOK, scope: scope, route: use.Route, address: use.IP, agent: use.UserAgent,
	})
}

// CountDenied counts a request that was refused although its secret was right: for
// which scope, or "" if that isn't known, and with which code.
func (s *Store) CountDenied(m Match, at time.Time, scope, outcome string) {
	s.count(&counted{id: m.Token.ID, at: at.UnixMicro(), outcome: outcome, scope: scope})
	s.tellUsed(m, at)
}
