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
// runs in the background, at most a fiftieth of the time.
type surveys struct {
	mu      sync.Mutex
	last    *survey
	made    time.Time
	took    time.Duration
	running chan struct{} // closed when the survey in progress ends; nil if there is none
}

const (
	// surveyShare is the minimum age of a survey before the next one, in multiples of the time
	// it took.
	surveyShare = 50
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

// start begins a survey if the last one is too old, and returns a channel that is closed when
// the survey in progress ends.
func (s *surveys) start(c *call, store *tokenstore.Store) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil || s.last != nil && time.Since(s.made) < surveyShare*s.took {
		return s.running
	}
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
