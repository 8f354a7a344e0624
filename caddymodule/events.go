package caddymodule

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// eventQueueLength is the maximum number of queued events. When the queue is full, new events
// are dropped, because the code that emits them must not block.
const eventQueueLength = 10_000

// eventQueue passes a store's events to Caddy's events app one at a time. It does this in its
// own goroutine, because event handlers may be slow.
type eventQueue struct {
	waiting     chan tokenstore.Event
	stop, ended chan struct{}
	// emitter is the newest configuration's emitter. It is nil while no configuration handles
	// events.
	emitter atomic.Pointer[eventEmitter]
	lost    atomic.Uint64
}

// eventEmitter emits events for one configuration.
type eventEmitter struct {
	events *caddyevents.App
	ctx    caddy.Context
	logger *zap.Logger
}

func newEventQueue() *eventQueue {
	q := &eventQueue{waiting: make(chan tokenstore.Event, eventQueueLength), stop: make(chan struct{}),
		ended: make(chan struct{})}
	go q.run()
	return q
}

func (q *eventQueue) run() {
	defer close(q.ended)
	for {
		select {
		case e := <-q.waiting:
			q.emit(e)
			continue
		case <-q.stop:
		}
		for {
			select {
			case e := <-q.waiting:
				q.emit(e)
			default:
				return
			}
		}
	}
}

// add queues an event. It is the Events function in [tokenstore.Options].
func (q *eventQueue) add(e tokenstore.Event) {
	select {
	case q.waiting <- e:
	default:
		q.lost.Add(1)
	}
}

// close waits until the handlers have received all queued events. Later events are dropped.
func (q *eventQueue) close() {
	close(q.stop)
	<-q.ended
}

func (q *eventQueue) emit(e tokenstore.Event) {
	emitter := q.emitter.Load()
	if emitter == nil {
		return
	}
	if lost := q.lost.Swap(0); lost > 0 {
		emitter.logger.Error("dropped events because event handlers are too slow", zap.Uint64("events", lost))
	}
	emitter.events.Emit(emitter.ctx, "token."+string(e.Kind), eventData(e))
}

// eventData returns the event data that handlers receive. It has the audit log's format and
// contains no secrets.
func eventData(e tokenstore.Event) map[string]any {
	data := map[string]any{
		"time": e.Time.UTC().Format(time.RFC3339),
		"id":   e.Token.ID.String(), "name": e.Token.Name, "kind": e.Token.Kind.String(), "account": e.Token.Account,
	}
	if end := e.Token.ExpiresAt; !end.IsZero() {
		data["expires_at"] = end.UTC().Format(time.RFC3339)
	}
	if e.Actor.Name != "" {
		data["actor"] = e.Actor.Name
	}
	if e.Within > 0 {
		data["within_days"] = int(e.Within / (24 * time.Hour))
	}
	return data
}

func (a *App) provisionEvents(ctx caddy.Context) error {
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	a.emitter = &eventEmitter{events: events.(*caddyevents.App), ctx: ctx, logger: a.logger}
	return nil
}

// startEvents directs the store's events to this configuration's handlers.
func (a *App) startEvents() {
	if open := a.store.current(); open != nil {
		open.events.emitter.Store(a.emitter)
	}
}

// stopEvents undoes startEvents, unless another configuration has started since.
func (a *App) stopEvents() {
	if open := a.store.current(); open != nil {
		open.events.emitter.CompareAndSwap(a.emitter, nil)
	}
}
