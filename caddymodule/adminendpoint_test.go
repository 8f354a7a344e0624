package caddymodule

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestRunningConfig checks that requests to Caddy's admin endpoint wait while a configuration
// is starting, as requests at the gate wait for the store.
func TestRunningConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		startedAfter, clientGoneAfter time.Duration
		want                          bool
		waited                        time.Duration
	}{
		"running":     {0, time.Hour, true, 0},
		"starting":    {25 * time.Millisecond, time.Hour, true, 30 * time.Millisecond},
		"slow start":  {4900 * time.Millisecond, time.Hour, true, 4900 * time.Millisecond},
		"never":       {time.Hour, time.Hour, false, storeWait},
		"client gone": {time.Hour, 50 * time.Millisecond, false, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), test.clientGoneAfter)
				defer cancel()
				running, ok := runningConfig(ctx, func() caddy.Context {
					if time.Since(start) < test.startedAfter {
						return caddy.Context{}
					}
					return caddy.Context{Context: t.Context()}
				})
				if waited := time.Since(start); ok != test.want || (running.Context != nil) != test.want ||
					waited != test.waited {
					t.Errorf("got %v after %v, want %v after %v", ok, waited, test.want, test.waited)
				}
			})
		})
	}
}
