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
	// Resources says when the token's resources were last used, sorted by pattern.
	Resources []ResourceUse
	// Days contains the requested days in order, without duplicates.
	Days []DayUsage
	// Refusals, in a difference, contains the difference's newest refusals, oldest first.
	// [Store.Refusals] returns those of a token.
	Refusals []Refusal
}

// ResourceUse is the last day with an allowed request that acted on something that a pattern of
// the token's resources covers.
type ResourceUse struct {
	Pattern string
	Day     Day
}

// maxResourceUses is the maximum number of patterns of a token, including some that it no longer
// has.
const maxResourceUses = 512

// plusResources returns the union of two sorted lists, with the later of two days. If there are
// too many patterns, it drops those that haven't been used for longest.
func plusResources(a, b []ResourceUse) []ResourceUse {
	if len(b) == 0 {
		return a
	}
	byPattern := func(a, b ResourceUse) int { return cmp.Compare(a.Pattern, b.Pattern) }
	union := slices.Clone(a)
	for _, use := range b {
		i, found := slices.BinarySearchFunc(union, use, byPattern)
		if found {
			union[i].Day = max(union[i].Day, use.Day)
		} else {
			union = slices.Insert(union, i, use)
		}
	}
	if len(union) > maxResourceUses {
		slices.SortStableFunc(union, func(a, b ResourceUse) int { return cmp.Compare(b.Day, a.Day) })
		union = union[:maxResourceUses]
		slices.SortFunc(union, byPattern)
	}
	return union
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
	u.Resources = plusResources(u.Resources, more.Resources)
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
	s.CountAllowedOn(m, scope, nil, use)
}

// CountAllowedOn is like CountAllowed for a request that acted on something that these patterns of
// the token's resources cover.
func (s *Store) CountAllowedOn(m Match, scope string, patterns []string, use LastUse) {
	s.count(&journalEntry{
		id: m.Token.ID, at: use.Time.UnixMicro(), previous: m.Previous,
		outcome: OutcomeOK, scope: scope, route: use.Route, address: use.IP, agent: use.UserAgent,
		more: joinPatterns(patterns),
	})
}

// CountDenied counts a request that was refused despite a correct secret. The refusal's path
// must not contain a token. Like CountAllowed, it doesn't wait for the backend or the disk.
func (s *Store) CountDenied(m Match, r Refusal) {
	s.count(&journalEntry{
		id: m.Token.ID, at: r.Time.UnixMicro(), outcome: r.Code, scope: r.Scope,
		more: r.Method, route: r.Path, address: r.IP, agent: r.UserAgent,
	})
	s.publishUsedAfterRevoke(m, r.Time)
}
