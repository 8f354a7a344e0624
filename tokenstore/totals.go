package tokenstore

import (
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Totals returns the requests that all API tokens together made, including tokens deleted
// since: the counts of all retained hours or days that overlap the interval [from, to), like
// [Store.Series], but without scopes. Requests that can't be attributed to a token aren't
// counted. The error is [ErrUnavailable].
func (s *Store) Totals(step Step, from, to time.Time) ([]Point, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	first, last := s.seriesDays(step, from, to)
	// Read the pending usage first, as in usage.
	counted := s.pending.all(s.journal)
	days, state, err := s.backend.Totals(first, last)
	if err != nil {
		return nil, readError(err)
	}
	total := Usage{Days: days}
	for _, d := range counted {
		if state.includes(d.flush, d.id) {
			continue
		}
		if tok, err := s.backend.Token(d.id); err == nil && tok.Kind == token.KindAPI {
			total = total.Plus(Usage{Days: withoutScopes(d.usage.Days)})
		}
	}
	total.Days = slices.DeleteFunc(total.Days, func(d DayUsage) bool { return d.Day < first || d.Day > last })
	return points(total.Days, step, from, to), nil
}

func withoutScopes(days []DayUsage) []DayUsage {
	for i, day := range days {
		days[i].Points = nil
		for _, p := range day.Points {
			p.Scope = ""
			days[i].Add(p)
		}
	}
	return days
}
