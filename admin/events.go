package admin

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// changeEvent announces a change. Action is null if there were many changes.
type changeEvent struct {
	Action  textOrNull `json:"action"`
	TokenID textOrNull `json:"token_id"`
}

// usageEvent announces counted requests. TokenIDs is null if there were many tokens.
type usageEvent struct {
	TokenIDs []string `json:"token_ids"`
}

const (
	// usageInterval is how often counted requests are announced.
	usageInterval = time.Second
	// keepAliveInterval is how often a comment is sent so that proxies don't close an idle
	// connection.
	keepAliveInterval = 15 * time.Second
)

// events sends server-sent events (HTML Living Standard, section 9.2) until the client
// disconnects, the caller's authorization ends or the server stops. The client reconnects.
func (c *call) events() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if err := store.Ping(); err != nil {
		return c.storeRefusal(err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.w.WriteHeader(http.StatusOK)
	stream := eventStream{w: c.w, controller: http.NewResponseController(c.w)}
	feed := store.Feed()
	defer feed.Close()
	stream.comment()
	ticker := time.NewTicker(authInterval)
	defer ticker.Stop()
	usageSent, alive := time.Now(), time.Now()
	for stream.err == nil && c.authorize() == nil && (c.Stopping == nil || !c.Stopping()) {
		select {
		case <-c.r.Context().Done():
			return nil
		case <-feed.Changed():
			stream.changes(feed.Changes())
		case now := <-ticker.C:
			if now.Sub(usageSent) >= usageInterval {
				usageSent = now
				stream.usage(feed.Used())
			}
			if now.Sub(alive) >= keepAliveInterval {
				alive = now
				stream.comment()
			}
		}
	}
	return nil
}

// eventStream writes server-sent events. After an error, it writes nothing.
type eventStream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	err        error
}

// changes writes the events for changes.
func (s *eventStream) changes(changes []tokenstore.ChangeNote, many bool) {
	for _, change := range changes {
		s.event("change", changeEvent{textOrNull(change.Action), textOrNull(change.ID.String())})
	}
	if many {
		s.event("change", changeEvent{})
	}
	s.flush()
}

// usage writes the event for the tokens in use, if there are any.
func (s *eventStream) usage(used []token.ID, many bool) {
	if len(used) == 0 && !many {
		return
	}
	var e usageEvent
	for _, id := range used {
		e.TokenIDs = append(e.TokenIDs, id.String())
	}
	s.event("usage", e)
	s.flush()
}

func (s *eventStream) event(name string, data any) {
	body, err := json.Marshal(data, json.FormatNilSliceAsNull(true))
	if err != nil {
		s.err = err // can't happen: all event types are marshalable
		return
	}
	s.write("event: " + name + "\ndata: " + string(body) + "\n\n")
}

// comment writes a comment, which clients ignore.
func (s *eventStream) comment() {
	s.write(": \n\n")
	s.flush()
}

func (s *eventStream) write(text string) {
	if s.err == nil {
		_, s.err = s.w.Write([]byte(text))
	}
}

func (s *eventStream) flush() {
	s.err = errors.Join(s.err, s.controller.Flush())
}
