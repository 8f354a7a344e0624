package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/gate"
)

// backendState records whether the last request to a gate's backend got a response. The zero
// value is a backend that hasn't failed. It is safe for concurrent use.
type backendState struct {
	failure atomic.Pointer[backendFailure] // nil if the last request got a response
}

type backendFailure struct {
	code gate.Code
	at   time.Time
}

// responded records that the backend sent a response. Usually it only reads an atomic pointer.
func (s *backendState) responded() {
	if s.failure.Load() != nil {
		s.failure.Store(nil)
	}
}

// failed records that the backend didn't send a usable response.
func (s *backendState) failed(code gate.Code, at time.Time) {
	s.failure.Store(&backendFailure{code, at})
}

// backendFailures returns the failure of each gate whose backend failed to respond to the last
// request.
func (g *gates) backendFailures() (failures []admin.BackendFailure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.configured {
		if c.backend == nil {
			continue
		}
		if f := c.backend.failure.Load(); f != nil {
			failures = append(failures, admin.BackendFailure{Gate: c.name, Code: f.code, Time: f.at})
		}
	}
	return failures
}
