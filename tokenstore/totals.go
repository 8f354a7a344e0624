package tokenstore

import (
	"time"

	"go.uber.org/zap"
)

// Totals returns the requests that all API tokens together made, including tokens deleted
// since: the counts of all retained hours or days that overlap the interval [from, to), like
// [Store.Series], but without scopes. Requests that can't be attributed to a token aren't
// counted. Counts that can't be saved at the moment are missing. The error is
// [ErrUnavailable].
func (s *Store) Totals(step Step, from, to time.Time) ([]Point, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := s.Flush(); err != nil {
		s.logger.Warn("the totals are missing counts that could not be saved", zap.Error(err))
	}
	first, last := s.seriesDays(step, from, to)
	days, err := s.backend.Totals(first, last)
	if err != nil {
		return nil, readError(err)
	}
	return points(days, step, from, to), nil
}
