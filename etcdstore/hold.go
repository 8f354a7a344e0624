package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// grant returns a new lease and the number of seconds after which it expires, which may be more
// than ttl.
func (e *Engine) grant(ctx context.Context, ttl int64) (id clientv3.LeaseID, granted int64, err error) {
	// A lease that is granted twice because the first answer was lost expires by itself.
	err = e.call(ctx, idempotent, func(ctx context.Context) error {
		response, err := e.client.Grant(ctx, ttl)
		if err == nil {
			id, granted = response.ID, response.TTL
		}
		return err
	})
	return id, granted, err
}

// revoke revokes a lease, which deletes its records.
func (e *Engine) revoke(ctx context.Context, id clientv3.LeaseID) error {
	return e.call(ctx, idempotent, func(ctx context.Context) error {
		_, err := e.client.Revoke(ctx, id)
		if is(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
}

// revokeLater revokes leases in the background, which deletes their records, if there are any. If
// that fails, the leases expire by themselves.
func (e *Engine) revokeLater(leases ...clientv3.LeaseID) {
	for _, id := range leases {
		e.start(func() { _ = e.revoke(e.closed, id) })
	}
}

// hold implements [cluster.Hold]. The record belongs to the hold for as long as it has the same
// create revision.
type hold struct {
	engine  *Engine
	key     string
	lease   clientv3.LeaseID
	ttl     time.Duration
	created int64

	// released is canceled by Release, and when the hold is lost.
	released context.Context
	release  context.CancelFunc
	lost     chan struct{}
	lose     func()
}

// Hold implements [cluster.Engine].
func (e *Engine) Hold(ctx context.Context, key string, value []byte, ttl time.Duration) (cluster.Hold, error) {
	sent := time.Now()
	lease, granted, err := e.grant(ctx, seconds(ttl))
	if err != nil {
		return nil, err
	}
	var response *clientv3.TxnResponse
	err = e.call(ctx, once, func(ctx context.Context) (err error) {
		response, err = e.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(e.prefix+key), "=", 0)).
			Then(clientv3.OpPut(e.prefix+key, string(value), clientv3.WithLease(lease))).Commit()
		return err
	})
	if err == nil && !response.Succeeded {
		err = cluster.ErrHeld
	}
	if err != nil {
		// If the record exists after all, this deletes it.
		e.revokeLater(lease)
		return nil, err
	}
	h := e.newHold(key, lease, time.Duration(granted)*time.Second, response.Header.Revision)
	if !e.start(func() { h.keep(sent) }) {
		h.release()
		return nil, fmt.Errorf("etcd (%s): %w", e.endpoints, errClosed) // the record expires
	}
	return h, nil
}

// newHold returns a hold, which the caller must keep.
func (e *Engine) newHold(key string, lease clientv3.LeaseID, ttl time.Duration, created int64) *hold {
	h := &hold{engine: e, key: key, lease: lease, ttl: ttl, created: created, lost: make(chan struct{})}
	h.lose = sync.OnceFunc(func() { close(h.lost) })
	h.released, h.release = context.WithCancel(e.closed)
	return h
}

// Lost implements [cluster.Hold].
func (h *hold) Lost() <-chan struct{} { return h.lost }

// errLost is the error for a record that no longer belongs to the hold.
var errLost = errors.New("the record is no longer held: it expired or was deleted")

// Update implements [cluster.Hold].
func (h *hold) Update(ctx context.Context, value []byte) error {
	e := h.engine
	var response *clientv3.TxnResponse
	err := e.call(ctx, once, func(ctx context.Context) (err error) {
		response, err = e.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(e.prefix+h.key), "=", h.created)).
			Then(clientv3.OpPut(e.prefix+h.key, string(value), clientv3.WithLease(h.lease))).Commit()
		return err
	})
	if err == nil && !response.Succeeded || is(err, rpctypes.ErrLeaseNotFound) {
		h.lose()
		return fmt.Errorf("etcd (%s): %w", e.endpoints, errLost)
	}
	return err
}

// Release implements [cluster.Hold].
func (h *hold) Release(ctx context.Context) error {
	h.release()
	h.lose()
	return h.engine.revoke(ctx, h.lease)
}

// keep keeps the lease alive until the hold is released or lost. renewed is a time before the
// lease's last renewal.
func (h *hold) keep(renewed time.Time) {
	defer h.release()
	defer h.lose()
	expired := time.AfterFunc(time.Until(renewed.Add(h.ttl)), h.lose)
	defer expired.Stop()
	for {
		var generation int
		if h.engine.login != nil {
			var err error
			if generation, err = h.engine.login.generation(h.released); err != nil {
				return
			}
		}
		err := h.renewLoop(func(sent time.Time) {
			// The lease lives at least until the TTL after the request was sent.
			expired.Reset(time.Until(sent.Add(h.ttl)))
		})
		if is(err, rpctypes.ErrLeaseNotFound) || h.isLost() {
			return
		}
		if h.engine.login != nil && isLoginError(err) {
			_ = h.engine.renewLogin(h.released, generation, idempotent) // the next renewal fails again
		}
		if !pause(h.released, min(h.ttl/10, 500*time.Millisecond)) {
			return
		}
	}
}

func (h *hold) isLost() bool {
	select {
	case <-h.lost:
		return true
	default:
		return false
	}
}

// renewLoop renews the lease until a request fails or isn't answered soon.
func (h *hold) renewLoop(renewed func(sent time.Time)) error {
	e := h.engine
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(h.released))
	defer cancel()
	timeout := min(h.ttl/4, e.requestTimeout)
	late := time.AfterFunc(timeout, cancel)
	defer late.Stop()
	stream, err := e.leases.LeaseKeepAlive(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		sent := time.Now()
		// Recv returns the error.
		_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(h.lease)})
		response, err := stream.Recv()
		if err != nil {
			if to, ok := peer.FromContext(stream.Context()); ok && ctx.Err() != nil && h.released.Err() == nil {
				e.connections.unanswered(to, sent)
			}
			return err
		}
		if response.TTL <= 0 {
			return rpctypes.ErrLeaseNotFound
		}
		renewed(sent)
		late.Stop()
		select {
		case <-h.lost:
			return errLost
		case <-h.released.Done():
			return h.released.Err()
		case <-time.After(h.ttl / 3):
		}
		late.Reset(timeout)
	}
}
