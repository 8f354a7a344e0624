package admin

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// surveys makes surveys and keeps the last one. A survey of many tokens takes seconds, so it
// runs in the background, at most a fiftieth of the time, or a fifth while tokens change.
type surveys struct {
	mu      sync.Mutex
	last    *survey
	made    time.Time
	took    time.Duration
	running chan struct{} // closed when the survey in progress ends; nil if there is none
	// changes is the store's number of changes when the last survey began.
	changes uint64
}

const (
	// surveyShare is the minimum age of a survey before the next one, in multiples of the time
	// it took.
	surveyShare = 50
	// changedShare replaces surveyShare if a token has changed since, so that admins soon see the
	// effect of what they do.
	changedShare = 5
	// surveyWait is how long a call waits for a survey.
	surveyWait = 300 * time.Millisecond
)

// get returns a recent survey, or nil if the first survey isn't done yet.
func (s *surveys) get(c *call, store *tokenstore.Store) *survey {
	running := s.start(c, store)
	if running != nil {
		timer := time.NewTimer(surveyWait)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		case <-c.r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// due reports whether it is time for a new survey, given the store's number of changes. The
// caller must hold mu.
func (s *surveys) due(now time.Time, changes uint64) bool {
	wait := surveyShare * s.took
	if changes != s.changes {
		wait = changedShare * s.took
	}
	return s.last == nil || now.Sub(s.made) >= wait
}

// start begins a survey if the last one is too old, and returns a channel that is closed when
// the survey in progress ends.
func (s *surveys) start(c *call, store *tokenstore.Store) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := store.Changes()
	if s.running != nil || !s.due(time.Now(), changes) {
		return s.running
	}
	s.changes = changes
	done := make(chan struct{})
	s.running = done
	ctx := context.WithoutCancel(c.r.Context())
	go func() {
		begun := time.Now()
		found, err := newSurveyor(c.api, store).survey(ctx)
		if err != nil && !errors.Is(err, tokenstore.ErrClosed) {
			c.Logger.Error("surveying the tokens failed", zap.Error(err))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.last = found
		}
		s.made, s.took, s.running = time.Now(), time.Since(begun), nil
		close(done)
	}()
	return done
}
