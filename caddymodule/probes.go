package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/mollygate/mollygate/gate"
)

const (
	// answersKept is how long the answer to a probe holds.
	answersKept = time.Minute
	// maxAnswersKept bounds how many answers are kept.
	maxAnswersKept = 1000
)

// probes remembers what the backend has answered to probes: those that found
// nothing against the call. Calls that ask the same at the same time share one answer. The
// zero value knows nothing. It may be used by any number of goroutines.
type probes struct {
	mu      sync.Mutex
	answers map[string]time.Time    // until when the answer holds, by target
	open    map[string]*openProbe // those that are being made, by target
}

// probeResult is what came of a probe.
type probeResult struct {
	refusal gate.Refusal // why the call must not be made, or none
	known   bool         // the answer holds for a while
	err     error        // of the handlers
}

// openProbe is a probe that is being made.
type openProbe struct {
	done   chan struct{} // closed at its end
	result probeResult
	// shared says that the result is about the backend, and not about the call for which
	// the probe was made, which may have ended.
	shared bool
}

// remembers reports whether an answer holds.
func (q *probes) remembers(target string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.answers[target])
}

// ask returns the result of a probe for a call with this context. It calls send to make
// the probe, unless the answer is remembered or another call has asked.
func (q *probes) ask(ctx context.Context, target string, now time.Time, send func() probeResult) probeResult {
	for {
		probe, mine := q.join(target, now)
		if probe == nil {
			return probeResult{}
		}
		if mine {
			defer q.close(target, probe, now) // also after a panic
			probe.result = send()
			probe.shared = ctx.Err() == nil
			return probe.result
		}
		select {
		case <-probe.done:
		case <-ctx.Done():
			return probeResult{err: context.Cause(ctx)}
		}
		if probe.shared {
			return probe.result
		}
	}
}

// join returns the probe that is being made, which may be the caller's to make, or nil
// if the answer is remembered.
func (q *probes) join(target string, now time.Time) (probe *openProbe, mine bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.answers[target]) {
		return nil, false
	}
	if probe = q.open[target]; probe != nil {
		return probe, false
	}
	if q.open == nil {
		q.open = make(map[string]*openProbe)
	}
	probe = &openProbe{done: make(chan struct{})}
	q.open[target] = probe
	return probe, true
}

// close ends a probe, and keeps an answer that holds.
func (q *probes) close(target string, probe *openProbe, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, target)
	if probe.result.known {
		if len(q.answers) >= maxAnswersKept || q.answers == nil {
			q.answers = make(map[string]time.Time)
		}
		q.answers[target] = now.Add(answersKept)
	}
	close(probe.done)
}
