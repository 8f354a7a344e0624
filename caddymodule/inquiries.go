package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/mollygate/mollygate/gate"
)

const (
	// answersKept is how long the answer to an inquiry holds.
	answersKept = time.Minute
	// maxAnswersKept bounds how many answers are kept.
	maxAnswersKept = 1000
)

// inquiries remembers what the backend has answered to inquiries: those that found
// nothing against the call. Calls that ask the same at the same time share one answer. The
// zero value knows nothing. It may be used by any number of goroutines.
type inquiries struct {
	mu      sync.Mutex
	answers map[string]time.Time    // until when the answer holds, by target
	open    map[string]*openInquiry // those that are being made, by target
}

// inquiryResult is what came of an inquiry.
type inquiryResult struct {
	refusal gate.Refusal // why the call must not be made, or none
	known   bool         // the answer holds for a while
	err     error        // of the handlers
}

// openInquiry is an inquiry that is being made.
type openInquiry struct {
	done   chan struct{} // closed at its end
	result inquiryResult
	// shared says that the result is about the backend, and not about the call for which
	// the inquiry was made, which may have ended.
	shared bool
}

// remembers reports whether an answer holds.
func (q *inquiries) remembers(target string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.answers[target])
}

// ask returns the result of an inquiry for a call with this context. It calls send to make
// the inquiry, unless the answer is remembered or another call has asked.
func (q *inquiries) ask(ctx context.Context, target string, now time.Time, send func() inquiryResult) inquiryResult {
	for {
		inquiry, mine := q.join(target, now)
		if inquiry == nil {
			return inquiryResult{}
		}
		if mine {
			defer q.close(target, inquiry, now) // also after a panic
			inquiry.result = send()
			inquiry.shared = ctx.Err() == nil
			return inquiry.result
		}
		select {
		case <-inquiry.done:
		case <-ctx.Done():
			return inquiryResult{err: context.Cause(ctx)}
		}
		if inquiry.shared {
			return inquiry.result
		}
	}
}

// join returns the inquiry that is being made, which may be the caller's to make, or nil
// if the answer is remembered.
func (q *inquiries) join(target string, now time.Time) (inquiry *openInquiry, mine bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.answers[target]) {
		return nil, false
	}
	if inquiry = q.open[target]; inquiry != nil {
		return inquiry, false
	}
	if q.open == nil {
		q.open = make(map[string]*openInquiry)
	}
	inquiry = &openInquiry{done: make(chan struct{})}
	q.open[target] = inquiry
	return inquiry, true
}

// close ends an inquiry, and keeps an answer that holds.
func (q *inquiries) close(target string, inquiry *openInquiry, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, target)
	if inquiry.result.known {
		if len(q.answers) >= maxAnswersKept || q.answers == nil {
			q.answers = make(map[string]time.Time)
		}
		q.answers[target] = now.Add(answersKept)
	}
	close(inquiry.done)
}
