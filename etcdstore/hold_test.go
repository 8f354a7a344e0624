package etcdstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// unreachable returns an engine for a server that doesn't run.
func unreachable(t *testing.T) *Engine {
	t.Helper()
	engine, err := NewEngine(Config{Endpoints: []string{"http://127.0.0.1:1"}, RequestTimeout: time.Second,
		Username: "gate", Password: "confidential"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// TestLostHold checks that a lost hold releases its context.
func TestLostHold(t *testing.T) {
	t.Parallel()
	hold := unreachable(t).newHold("n", 1, 100*time.Millisecond, 1)
	hold.keep(time.Now()) // until it is lost
	if hold.released.Err() == nil {
		t.Error("the context of a lost hold isn't released")
	}
}

// TestStartAfterClose checks that an engine starts nothing in the background once it is closed.
func TestStartAfterClose(t *testing.T) {
	t.Parallel()
	engine := unreachable(t)
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
	if engine.start(func() { t.Error("started after Close") }) {
		t.Error("start reports that it started something")
	}
	engine.background.Wait()
}

// TestFailedLogin checks that the error for a call names the cause for which the login failed, not
// the cause for which the call failed before.
func TestFailedLogin(t *testing.T) {
	t.Parallel()
	err := unreachable(t).call(t.Context(), once, func(ctx context.Context) error {
		tried := ctx.Value(attemptKey{}).(*attempt)
		tried.sent, tried.err = true, errors.New("cause of the call")
		return rpctypes.ErrInvalidAuthToken
	})
	if err == nil || !strings.Contains(err.Error(), "can't be reached: ") ||
		!strings.Contains(err.Error(), "connection refused") || !errors.Is(err, cluster.ErrNotCommitted) {
		t.Errorf("got %v", err)
	}
}
