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
	knownInstance   = probeResult{known: true}
	unknownInstance = probeResult{refusal: gate.Refuse(gate.BackendError)}
)

// An answer that holds is remembered for a minute, and others are not.
func TestProbes(t *testing.T) {
	t.Parallel()
	var q probes
	now := time.Unix(1_800_000_000, 0)
	sent := 0
	for i, step := range []struct {
		after  time.Duration
		target string
		answer probeResult
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
		got := q.ask(t.Context(), step.target, now, func() probeResult {
			sent++
			return step.answer
		})
		if got.refusal.Code != step.want || sent != step.sent {
			t.Errorf("step %d: %q after %d probes, want %q after %d", i, got.refusal.Code, sent, step.want,
				step.sent)
		}
	}
}

// What is remembered is bounded.
func TestProbesAreBounded(t *testing.T) {
	t.Parallel()
	var q probes
	for i := range 3 * maxAnswersKept {
		q.ask(t.Context(), fmt.Sprint(i), time.Unix(1_800_000_000, 0), func() probeResult { return knownInstance })
	}
	if len(q.answers) > maxAnswersKept || len(q.open) != 0 {
		t.Errorf("%d answers are kept, %d probes are open", len(q.answers), len(q.open))
	}
}

// Calls that ask at the same time share an answer, whatever it is. One that ends takes no
// other along.
func TestProbesAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, answer := range []probeResult{knownInstance, unknownInstance} {
		synctest.Test(t, func(t *testing.T) {
			var q probes
			var sent atomic.Int64
			ask := func(ctx context.Context) probeResult {
				return q.ask(ctx, "a", time.Now(), func() probeResult {
					sent.Add(1)
					select {
					case <-ctx.Done():
						return probeResult{err: ctx.Err()}
					case <-time.After(time.Second):
						return answer
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
					if got := ask(t.Context()); got.refusal.Code != answer.refusal.Code || got.err != nil {
						t.Errorf("got %+v, want %+v", got, answer)
					}
				})
			}
			others.Go(func() {
				if got := ask(waiting); got.err == nil {
					t.Error("a call that has ended got an answer")
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

// A panic leaves no call waiting.
func TestProbePanics(t *testing.T) {
	t.Parallel()
	var q probes
	func() {
		defer func() { _ = recover() }()
		q.ask(t.Context(), "a", time.Now(), func() probeResult { panic("x") })
	}()
	if got := q.ask(t.Context(), "a", time.Now(),
		func() probeResult { return unknownInstance }); got.refusal.Code != gate.BackendError {
		t.Errorf("afterwards: %+v", got)
	}
}
