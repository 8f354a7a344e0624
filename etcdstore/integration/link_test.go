package integration

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

func mkdir(dir string) error { return os.MkdirAll(dir, 0o700) }

var errCut = errors.New("the test has cut the connection")

// link is a node's connection to etcd, which a test can cut.
type link struct {
	engine cluster.Engine

	mu     sync.Mutex
	whole  context.Context
	sever  context.CancelCauseFunc
	killed bool
	// edit changes the commits that Watch yields. It may be nil.
	edit func(cluster.Commit, func(cluster.Commit) error) error
	// committing is called before each commit. It may be nil.
	committing func([]cluster.Condition, []cluster.Write) error
	// listing is called for each record of a snapshot. It may be nil.
	listing func(cluster.Record) error
	// received is the revision of the last commit that the node has received.
	received atomic.Int64
}

func newLink(engine cluster.Engine) *link {
	l := &link{engine: engine}
	l.join()
	return l
}

// cut ends all calls in progress and makes later ones fail.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sever(errCut)
}

// join repairs the connection.
func (l *link) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.killed {
		l.whole, l.sever = context.WithCancelCause(context.Background())
	}
}

// kill cuts the connection and loses the node's holds only after their time, as a kill of the
// process does.
func (l *link) kill() {
	l.cut()
	l.mu.Lock()
	l.killed = true
	l.mu.Unlock()
	_ = l.engine.Close()
}

// begin returns a context that is canceled when the connection is cut.
func (l *link) begin(ctx context.Context) (context.Context, func(), error) {
	l.mu.Lock()
	whole := l.whole
	l.mu.Unlock()
	if whole.Err() != nil {
		return nil, nil, errCut
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(whole, func() { cancel(errCut) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

func (l *link) Snapshot(ctx context.Context, prefix string, yield func(cluster.Record) error) (int64, error) {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	l.mu.Lock()
	listing := l.listing
	l.mu.Unlock()
	return l.engine.Snapshot(ctx, prefix, func(r cluster.Record) error {
		if listing != nil && prefix == "" {
			if err := listing(r); err != nil {
				return err
			}
		}
		return yield(r)
	})
}

func (l *link) Watch(ctx context.Context, after int64, yield func(cluster.Commit) error) error {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return l.engine.Watch(ctx, after, func(c cluster.Commit) error {
		l.mu.Lock()
		edit := l.edit
		l.mu.Unlock()
		defer l.received.Store(c.Revision)
		if edit != nil {
			return edit(c, yield)
		}
		return yield(c)
	})
}

func (l *link) Read(ctx context.Context, keys ...string) ([]cluster.Record, error) {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return l.engine.Read(ctx, keys...)
}

func (l *link) Commit(ctx context.Context, conditions []cluster.Condition, writes []cluster.Write) (cluster.Result,
	error) {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return cluster.Result{}, err
	}
	defer end()
	l.mu.Lock()
	committing := l.committing
	l.mu.Unlock()
	if committing != nil {
		if err := committing(conditions, writes); err != nil {
			return cluster.Result{}, err
		}
	}
	return l.engine.Commit(ctx, conditions, writes)
}

func (l *link) Hold(ctx context.Context, key string, value []byte, ttl time.Duration) (cluster.Hold, error) {
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return l.engine.Hold(ctx, key, value, ttl)
}

func (l *link) Close() error { return l.engine.Close() }

// slowList calls f once, when the node has begun to list the store.
func (l *link) slowList(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	once := sync.OnceFunc(f)
	l.listing = func(cluster.Record) error {
		once()
		return nil
	}
}

func (l *link) setCommitting(f func([]cluster.Condition, []cluster.Write) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committing = f
}

func (l *link) setEdit(f func(cluster.Commit, func(cluster.Commit) error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edit = f
}
