package mollymawktest

import (
	"strings"
	"sync"
)

// replayed is how many lines a new subscriber gets first.
const replayed = 40

// console is what a unikernel has written and who listens. It is guarded by
// Server.mu.
type console struct {
	lines       []string // events as sent, the last ones
	subscribers map[*subscriber]struct{}
}

// subscriber is one open event stream. It takes any number of events, so that
// nobody waits for a slow client.
type subscriber struct {
	mu      sync.Mutex
	pending []string
	ready   chan struct{} // has room for one signal
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
	default: // a signal is there already
	}
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.pending
	s.pending = nil
	return events
}

// Emit has a unikernel write a line to its console. It reports whether there is
// such a unikernel.
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

// Consoles is how many console streams are open.
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

// console is GET /api/unikernel/console. Nothing is sent before the first event,
// and nothing ever ends the stream but the client: a unikernel that is silent,
// destroyed or was never there looks the same.
func (c *call) console() {
	instance, name, ok := c.queryPlace()
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
	me := &subscriber{ready: make(chan struct{}, 1)}
	var from *console
	_, err := c.command(instance, func(d *domain) (string, error) {
		from = d.consoleOf(name)
		for _, event := range from.lines {
			me.push(event)
		}
		from.subscribers[me] = struct{}{}
		return "", nil
	})
	gone := c.conn.watch()
	if err != nil {
		<-gone // refused: the connection goes quiet
		return
	}
	defer func() {
		c.srv.mu.Lock()
		defer c.srv.mu.Unlock()
		delete(from.subscribers, me)
	}()
	for {
		select {
		case <-me.ready:
		case <-gone:
			return
		}
		for _, event := range me.take() {
			if err := out.write(event); err != nil {
				return
			}
		}
	}
}
