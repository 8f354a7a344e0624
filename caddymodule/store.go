package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/tokenstore"
)

// StoreModule is implemented by the modules that store tokens. They are in the
// api_tokens.stores namespace.
type StoreModule interface {
	// Key returns an identifier for the store. It is unique within this process and doesn't
	// depend on how the store's path is spelled.
	Key() string
	// Inspect returns an error if the store can't be opened, as far as it can check without
	// locking, creating or changing anything. It must not use the network.
	Inspect() error
	// Open opens the store. It may wait several seconds for a lock.
	Open() (tokenstore.Backend, error)
}

// storeWait is how long a request waits for the store while Caddy is starting.
const storeWait = 5 * time.Second

// stores holds this process's open stores by key. During a reload, two configurations exist at
// the same time, but a store must not be opened twice: bbolt locks the file, and each
// tokenstore.Store keeps state in memory (caddyserver/caddy#3865).
var stores = caddy.NewUsagePool()

// openStore is a store in the pool.
type openStore struct {
	*tokenstore.Store
	census census
	events *eventQueue
	// sessions holds the sessions of every dashboard that uses the store.
	sessions admin.Sessions
	// detached counts the detached requests at every gate that uses the store.
	detached detachedRequests
}

// Destruct implements caddy.Destructor.
func (s *openStore) Destruct() error {
	err := s.Close()
	s.events.close()
	return err
}

// sharedStore is one configuration's reference to a store.
type sharedStore struct {
	key    string
	logger *zap.Logger
	// held is set if this configuration must return the store to the pool.
	held   bool
	opened atomic.Pointer[openStore]
	// ready is closed once the store is open.
	ready chan struct{}
}

var errNotOpen = errors.New("not open in this process")

// provision acquires the store if this process already has it open. If not, provision only
// inspects the store.
func (s *sharedStore) provision(module StoreModule, logger *zap.Logger) error {
	s.logger = logger
	s.ready = make(chan struct{})
	s.key = module.Key()
	err := s.acquire(func() (caddy.Destructor, error) { return nil, errNotOpen })
	if errors.Is(err, errNotOpen) {
		return module.Inspect()
	}
	return err
}

// open opens the store unless provision has already acquired it.
func (s *sharedStore) open(module StoreModule) error {
	if s.held {
		return nil
	}
	return s.acquire(func() (caddy.Destructor, error) {
		backend, err := module.Open()
		if err != nil {
			return nil, err
		}
		events := newEventQueue()
		store, err := tokenstore.Open(backend, tokenstore.Options{
			Logger:  s.logger,
			Events:  events.add,
			Flushed: func(took time.Duration, _ int) { metrics.flush.Observe(took.Seconds()) },
		})
		if err != nil {
			events.close()
			return nil, errors.Join(fmt.Errorf("opening the token store: %w", err), backend.Close())
		}
		return &openStore{Store: store, events: events}, nil
	})
}

func (s *sharedStore) acquire(construct caddy.Constructor) error {
	value, _, err := stores.LoadOrNew(s.key, construct)
	if err != nil {
		return err
	}
	s.held = true
	s.opened.Store(value.(*openStore))
	close(s.ready)
	return nil
}

// release releases the store if this configuration has acquired it.
func (s *sharedStore) release() error {
	if !s.held {
		return nil
	}
	s.held = false
	_, err := stores.Delete(s.key)
	return err
}

// current returns the open store, or nil.
func (s *sharedStore) current() *openStore { return s.opened.Load() }

// get returns the open store. While Caddy is starting, get waits for the store to open. Its
// errors wrap [tokenstore.ErrUnavailable].
func (s *sharedStore) get(ctx context.Context) (*tokenstore.Store, error) {
	if store := s.opened.Load(); store != nil {
		return store.Store, nil
	}
	timeout := time.NewTimer(storeWait)
	defer timeout.Stop()
	select {
	case <-s.ready:
		return s.opened.Load().Store, nil
	case <-timeout.C:
		return nil, fmt.Errorf("%w: it is not open yet", tokenstore.ErrUnavailable)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, context.Cause(ctx))
	}
}

// Interface guards.
var _ caddy.Destructor = (*openStore)(nil)
