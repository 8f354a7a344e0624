package caddymodule

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

const (
	// inquiryTimeout is how long the answer to an inquiry may take.
	inquiryTimeout = 10 * time.Second
	// answersKept is how long the answer to an inquiry holds.
	answersKept = time.Minute
	// maxAnswersKept bounds how many answers are kept.
	maxAnswersKept = 1000
	// maxInquiryBody is how much of an answer is looked at, in bytes.
	maxInquiryBody = 16 << 10
)

// inquiries remembers what the backend has answered to inquiries: those that found
// nothing against the call. The zero value knows nothing. It may be used by any number of
// goroutines.
type inquiries struct {
	mu      sync.Mutex
	answers map[string]time.Time // until when the answer holds, by target
}

func target(ask *gate.Inquiry) string { return ask.Path + "?" + ask.Query }

func (q *inquiries) known(ask *gate.Inquiry, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.answers[target(ask)])
}

func (q *inquiries) keep(ask *gate.Inquiry, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.answers) >= maxAnswersKept || q.answers == nil {
		q.answers = make(map[string]time.Time)
	}
	q.answers[target(ask)] = now.Add(answersKept)
}

// inquire asks the backend what must be known before a call is made, as whoever makes the
// call, unless it is known. trusted says that the call has the gate's credential: what
// others are told may be about theirs, and isn't kept. It returns why the call must not be
// made, or nothing. err is that of the handlers.
func (h *BearerAuth) inquire(next caddyhttp.Handler, call *http.Request, ask *gate.Inquiry, trusted bool, now time.Time) (refusal gate.Refusal, err error) {
	if h.inquiries.known(ask, now) {
		return gate.Refusal{}, nil
	}
	ctx, cancel := context.WithTimeout(call.Context(), inquiryTimeout)
	defer cancel()
	r := call.WithContext(ctx)
	ask.Apply(r)
	answer := &inquiryAnswer{header: make(http.Header), enough: cancel}
	err = answer.serve(next, r)
	if answer.status == 0 {
		if err == nil {
			return gate.Refuse(gate.BackendBrokeOff), nil
		}
		return gate.Refusal{}, err
	}
	refusal, known := ask.Judge(answer.status, answer.body)
	if known && trusted {
		h.inquiries.keep(ask, now)
	}
	return refusal, nil
}

// inquiryAnswer takes the answer to an inquiry.
type inquiryAnswer struct {
	header http.Header
	status int
	body   []byte
	enough func() // ends an answer that is longer than is looked at
}

// serve calls the next handlers. A backend that breaks off an answer has said enough.
func (a *inquiryAnswer) serve(next caddyhttp.Handler, r *http.Request) error {
	defer func() {
		if cause := recover(); cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // the proxy panics with this very value
			panic(cause)
		}
	}()
	return next.ServeHTTP(a, r)
}

// Header implements http.ResponseWriter.
func (a *inquiryAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *inquiryAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *inquiryAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if room := maxInquiryBody - len(a.body); len(p) >= room {
		a.body = append(a.body, p[:room]...)
		a.enough()
		return len(p), nil
	}
	a.body = append(a.body, p...)
	return len(p), nil
}
