package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/mollygate/mollygate/gate"
)

const (
	// resultTTL is how long a probe's result is cached.
	resultTTL = time.Minute
	// maxResults is the maximum number of cached results.
	maxResults = 1000
)

// probeCache caches the results of probes that found no reason to refuse a call. Concurrent
// calls with the same target share a single probe. The zero value is an empty cache. A
// probeCache is safe for concurrent use.
type probeCache struct {
	mu       sync.Mutex
	results  map[string]time.Time      // expiry of the result, by target
	inflight map[string]*inflightProbe // by target
}

// probeResult is the result of a probe.
type probeResult struct {
	refusal   gate.Refusal // zero if the call is allowed
	cacheable bool         // the result may be cached
	err       error        // from the handlers
}

// inflightProbe is an unfinished probe.
type inflightProbe struct {
	done   chan struct{} // closed when finished
	result probeResult
	// shared reports whether other calls can use the result. They can't if the context of the
	// call that sent the probe was canceled, because the result would then say nothing about
	// the backend.
	shared bool
}

// cached reports whether a result for the target is cached.
func (c *probeCache) cached(target string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.results[target])
}

// get returns the result of probing the target for a call with context ctx. It calls send to
// make the probe, unless the result is cached or another call is already probing the target.
func (c *probeCache) get(ctx context.Context, target string, now time.Time, send func() probeResult) probeResult {
	for {
		probe, mine := c.join(target, now)
		if probe == nil {
			return probeResult{}
		}
		if mine {
			defer c.finish(target, probe, now) // also after a panic
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

// join returns the target's in-flight probe, or nil if the result is cached. mine reports
// whether the caller must send the probe.
func (c *probeCache) join(target string, now time.Time) (probe *inflightProbe, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.results[target]) {
		return nil, false
	}
	if probe = c.inflight[target]; probe != nil {
		return probe, false
	}
	if c.inflight == nil {
		c.inflight = make(map[string]*inflightProbe)
	}
	probe = &inflightProbe{done: make(chan struct{})}
	c.inflight[target] = probe
	return probe, true
}

// finish completes a probe and caches the result if it is cacheable.
func (c *probeCache) finish(target string, probe *inflightProbe, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inflight, target)
	if probe.result.cacheable {
		if len(c.results) >= maxResults || c.results == nil {
			c.results = make(map[string]time.Time)
		}
		c.results[target] = now.Add(resultTTL)
	}
	close(probe.done)
}
