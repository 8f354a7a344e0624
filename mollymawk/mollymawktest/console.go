package mollymawktest

import (
	"strings"
	"sync"
)

// replayed is the number of past lines that are sent to a new subscriber.
const replayed = 40

// console holds a unikernel's recent output and its subscribers. Server.mu guards it.
type console struct {
	lines       []string // the most recent events, as sent to clients
	subscribers map[*subscriber]struct{}
}

// subscriber is an open event stream. Its queue is unbounded, so a slow client doesn't
// block anything else.
type subscriber struct {
	mu      sync.Mutex
	pending []string
	ready   chan struct{} // buffers one signal
}

func (d *domain) consoleOf(unikernel string) *console {
	c := d.consoles[unikernel]
	if c == nil {
		c = &console{subscribers: make(map[*subscriber]struct{})}
		d.consoles[unikernel] = c
	}
	return c
}

func (s *subscriber) push(event string) {
	s.mu.Lock()
	s.pending = append(s.pending, event)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default: // already signaled
	}
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.pending
	s.pending = nil
	return events
}

// Emit writes a line to a unikernel's console. It reports whether the unikernel exists.
func (s *Server) Emit(user, instance, unikernel, line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.mustDomain(user, instance)
	name := mustLabel(unikernel)
	if d.unikernels[name] == nil {
		return false
	}
	event := "data:" + encode(object{
		{"timestamp", strings.Replace(timestamp(s.now()), " ", "T", 1)},
		{"line", line},
	}) + "\n\n"
	c := d.consoleOf(name)
	c.lines = append(c.lines, event)
	c.lines = c.lines[max(0, len(c.lines)-replayed):]
	for subscriber := range c.subscribers {
		subscriber.push(event)
	}
	return true
}

// Consoles returns the number of open console streams.
func (s *Server) Consoles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, i := range s.instances {
		for _, d := range i.domains {
			for _, c := range d.consoles {
				n += len(c.subscribers)
			}
		}
	}
	return n
}

// console handles GET /api/unikernel/console. It sends nothing before the first event, and
// only the client ends the stream. So clients can't tell silent unikernels from destroyed
// or nonexistent ones.
func (c *call) console() {
	instance, name, ok := c.queryNames()
	if !ok {
		return
	}
	out := c.stream(
		field{"Content-Type", "text/event-stream"},
		field{"x-frame-options", "DENY"},
		field{"content-security-policy", "frame-ancestors 'none'"},
	)
	if !c.body.drain() {
		return
	}
	c.acts(Action{Instance: instance, Unikernel: name})
	sub := &subscriber{ready: make(chan struct{}, 1)}
	var from *console
	_, err := c.command(instance, func(d *domain) (string, error) {
		from = d.consoleOf(name)
		for _, event := range from.lines {
			sub.push(event)
		}
		from.subscribers[sub] = struct{}{}
		return "", nil
	})
	gone := c.conn.watch()
	if err != nil {
		<-gone // albatross refused, so the connection stays silent
		return
	}
	defer func() {
		c.srv.mu.Lock()
		defer c.srv.mu.Unlock()
		delete(from.subscribers, sub)
	}()
	for {
		select {
		case <-sub.ready:
		case <-gone:
			return
		}
		for _, event := range sub.take() {
			if err := out.write(event); err != nil {
				return
			}
		}
	}
}
