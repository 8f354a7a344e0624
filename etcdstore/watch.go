package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// Watch implements [cluster.Engine]. It doesn't use clientv3.Watcher, which reconnects by
// itself without end and without a report, and which buffers without limit what yield hasn't
// taken yet.
func (e *Engine) Watch(ctx context.Context, after int64, yield func(cluster.Commit) error) error {
	for logins := 0; ; logins++ {
		var generation int
		if e.login != nil {
			var err error
			if generation, err = e.login.generation(ctx); err != nil {
				return err
			}
		}
		w := &watch{engine: e, last: after, yield: yield}
		err := w.run(ctx)
		if e.login == nil || logins == 2 || !isLoginError(err) {
			return err
		}
		// etcd refuses to create the watch, so nothing has been yielded.
		if err := e.renewLogin(ctx, generation, idempotent); err != nil {
			return err
		}
	}
}

// watch is a running [Engine.Watch].
type watch struct {
	engine *Engine
	yield  func(cluster.Commit) error
	// last is the highest revision that has been yielded.
	last int64
	// fragments are the events of a response whose last part hasn't arrived.
	fragments []*mvccpb.Event

	mu sync.Mutex
	// heard is when the last message arrived or when yield last returned. It is zero while yield
	// runs.
	heard time.Time
}

// errSilent is the reason for ending a stream whose member doesn't answer.
var errSilent = errors.New("no answer")

func (w *watch) run(ctx context.Context) error {
	e := w.engine
	streamCtx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	start := time.AfterFunc(e.requestTimeout, func() { cancel(errSilent) })
	defer start.Stop()
	stream, err := e.watches.Watch(streamCtx, grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxReceive))
	if err != nil {
		return w.failed(ctx, streamCtx, err, &attempt{err: err})
	}
	sent := &attempt{sent: true}
	// etcd answers progress requests only if the start revision isn't higher than the current
	// revision. That is why the watch starts at the last revision, which handle drops.
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{
			Key:           []byte(e.prefix),
			RangeEnd:      []byte(clientv3.GetPrefixRangeEnd(e.prefix)),
			StartRevision: max(w.last, 1),
			Fragment:      true,
		},
	}})
	if err != nil && !errors.Is(err, io.EOF) { // Recv returns the cause of io.EOF
		return w.failed(ctx, streamCtx, err, sent)
	}
	if !start.Stop() {
		return w.failed(ctx, streamCtx, errSilent, sent)
	}

	w.heard = time.Now()
	var probing sync.WaitGroup
	defer probing.Wait()
	defer cancel(nil)
	probing.Go(func() { w.probe(streamCtx, stream, cancel) })
	for {
		response, err := stream.Recv()
		if err != nil {
			return w.failed(ctx, streamCtx, err, sent)
		}
		w.setHeard(time.Time{})
		err = w.handle(response)
		w.setHeard(time.Now())
		if err != nil {
			return err
		}
	}
}

func (w *watch) setHeard(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = at
}

// probe regularly asks the member for a sign of life. If none comes, it ends the stream and
// closes the connection.
func (w *watch) probe(ctx context.Context, stream pb.Watch_WatchClient, cancel context.CancelCauseFunc) {
	timeout := w.engine.requestTimeout
	for pause(ctx, timeout/3) {
		w.mu.Lock()
		heard := w.heard
		w.mu.Unlock()
		if heard.IsZero() {
			continue
		}
		if time.Since(heard) > timeout {
			if to, ok := peer.FromContext(stream.Context()); ok {
				w.engine.connections.unanswered(to, heard)
			}
			cancel(errSilent)
			return
		}
		// The answer's revision isn't used: members may send it before earlier events
		// (etcd-io/etcd#15220).
		_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
			ProgressRequest: new(pb.WatchProgressRequest)}}) // Recv returns the error
	}
}

// failed returns the error for a stream that ended with err.
func (w *watch) failed(ctx, streamCtx context.Context, err error, attempt *attempt) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case w.engine.closed.Err() != nil:
		return errClosed
	case errors.Is(context.Cause(streamCtx), errSilent):
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("following changes: %w", w.engine.describe(err, attempt, idempotent))
}

// handle yields the commits in a response.
func (w *watch) handle(response *pb.WatchResponse) error {
	e := w.engine
	switch {
	case response.CompactRevision != 0:
		return fmt.Errorf("etcd (%s): %w", e.endpoints, cluster.ErrCompacted)
	case response.Canceled:
		return e.canceled(response.CancelReason)
	}
	w.fragments = append(w.fragments, response.Events...)
	if response.Fragment {
		return nil
	}
	events := w.fragments
	w.fragments = nil
	// Without fragments, etcd doesn't split a revision's events over several responses.
	slices.SortStableFunc(events, func(a, b *mvccpb.Event) int {
		return int(a.Kv.ModRevision - b.Kv.ModRevision)
	})
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		n := slices.IndexFunc(events, func(event *mvccpb.Event) bool { return event.Kv.ModRevision != revision })
		if n < 0 {
			n = len(events)
		}
		// Members may repeat events (etcd-io/etcd#15220, etcd-io/etcd#18089).
		if revision > w.last {
			if err := w.yield(e.commit(revision, events[:n])); err != nil {
				return err
			}
			w.last = revision
		}
		events = events[n:]
	}
	return nil
}

// commit returns the commit that consists of the given events.
func (e *Engine) commit(revision int64, events []*mvccpb.Event) cluster.Commit {
	commit := cluster.Commit{Revision: revision, Writes: make([]cluster.Write, len(events))}
	for i, event := range events {
		commit.Writes[i].Key = e.relative(event.Kv.Key)
		if event.Type == mvccpb.Event_PUT {
			commit.Writes[i].Value = value(event.Kv)
		}
	}
	return commit
}

// canceled returns the error for a watch that the server canceled with the given reason.
func (e *Engine) canceled(reason string) error {
	for _, err := range []error{
		rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision,
		rpctypes.ErrUserEmpty, rpctypes.ErrNoLeader,
	} {
		if strings.Contains(reason, err.Error()) {
			return fmt.Errorf("following changes: %w", e.describe(err, &attempt{sent: true}, idempotent))
		}
	}
	return fmt.Errorf("following changes: etcd (%s) ended the watch: %s", e.endpoints, reason)
}
