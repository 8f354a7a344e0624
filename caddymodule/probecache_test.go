package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mollygate/mollygate/gate"
)

var (
	knownInstance   = probeResult{cacheable: true}
	unknownInstance = probeResult{refusal: gate.Refuse(gate.BackendError)}
)

// TestProbeCache checks that cacheable results are cached for one minute and that other
// results aren't cached.
func TestProbeCache(t *testing.T) {
	t.Parallel()
	var c probeCache
	now := time.Unix(1_800_000_000, 0)
	sent := 0
	for i, step := range []struct {
		after  time.Duration
		target string
		result probeResult
		want   gate.Code
		sent   int
	}{
		{0, "a", unknownInstance, gate.BackendError, 1},
		{0, "a", unknownInstance, gate.BackendError, 2},
		{0, "a", probeResult{}, "", 3},
		{0, "a", knownInstance, "", 4},
		{0, "a", unknownInstance, "", 4},
		{59 * time.Second, "a", unknownInstance, "", 4},
		{0, "b", unknownInstance, gate.BackendError, 5},
		{time.Second, "a", unknownInstance, gate.BackendError, 6},
		{0, "a", knownInstance, "", 7},
	} {
		now = now.Add(step.after)
		got := c.get(t.Context(), step.target, now, func() probeResult {
			sent++
			return step.result
		})
		if got.refusal.Code != step.want || sent != step.sent {
			t.Errorf("step %d: got %q after %d probes, want %q after %d", i, got.refusal.Code, sent, step.want,
				step.sent)
		}
	}
}

// TestProbeCacheIsBounded checks that the number of cached results is limited.
func TestProbeCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c probeCache
	for i := range 3 * maxResults {
		c.get(t.Context(), fmt.Sprint(i), time.Unix(1_800_000_000, 0), func() probeResult { return knownInstance })
	}
	if len(c.results) > maxResults || len(c.inflight) != 0 {
		t.Errorf("got %d cached results and %d probes in flight", len(c.results), len(c.inflight))
	}
}

// TestConcurrentProbes checks that concurrent calls share a result, even if it isn't
// cacheable, and that canceling one call doesn't affect the others.
func TestConcurrentProbes(t *testing.T) {
	t.Parallel()
	for _, result := range []probeResult{knownInstance, unknownInstance} {
		synctest.Test(t, func(t *testing.T) {
			var c probeCache
			var sent atomic.Int64
			ask := func(ctx context.Context) probeResult {
				return c.get(ctx, "a", time.Now(), func() probeResult {
					sent.Add(1)
					select {
					case <-ctx.Done():
						return probeResult{err: ctx.Err()}
					case <-time.After(time.Second):
						return result
					}
				})
			}
			first, end := context.WithCancel(t.Context())
			waiting, leave := context.WithCancel(t.Context())
			go ask(first)
			synctest.Wait()
			var others sync.WaitGroup
			for range 10 {
				others.Go(func() {
					if got := ask(t.Context()); got.refusal.Code != result.refusal.Code || got.err != nil {
						t.Errorf("got %+v, want %+v", got, result)
					}
				})
			}
			others.Go(func() {
				if got := ask(waiting); got.err == nil {
					t.Error("get returned a result to a canceled call")
				}
			})
			synctest.Wait()
			leave()
			end()
			others.Wait()
			if n := sent.Load(); n != 2 {
				t.Errorf("sent %d probes, want 2", n)
			}
		})
	}
}

// TestProbePanics checks that no call keeps waiting after a probe panics.
func TestProbePanics(t *testing.T) {
	t.Parallel()
	var c probeCache
	func() {
		defer func() { _ = recover() }()
		c.get(t.Context(), "a", time.Now(), func() probeResult { panic("x") })
	}()
	if got := c.get(t.Context(), "a", time.Now(),
		func() probeResult { return unknownInstance }); got.refusal.Code != gate.BackendError {
		t.Errorf("got result %+v after a panic", got)
	}
}
