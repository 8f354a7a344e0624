package mollymawktest

import (
	"crypto/sha256"
	"hash"
	"slices"
	"strings"
	"sync"
)

// keepBody is up to how many bytes of a request's body are kept.
const keepBody = 1 << 20

// Request is a request that the server parsed, as it came over the wire.
type Request struct {
	// Connection is the number of the connection that it came on, from 1.
	Connection int
	// Method, Target and Proto are the parts of the request line.
	Method, Target, Proto string
	// Lines are the header lines in order, without their line ends.
	Lines []string
	// Body is without its chunked coding; nil if it has 1 MiB or more.
	Body       []byte
	BodyLength int64
	BodySHA256 [sha256.Size]byte
	// BodyEnded reports that there is no more of the body to come. BodyBroken reports
	// that it was malformed or ended early, whatever the handler took it for.
	BodyEnded, BodyBroken bool
	// Status is that of the answer; 0 while there is none.
	Status int
}

// Values returns the values of all headers of this name, in order.
func (r Request) Values(name string) []string {
	var values []string
	for _, line := range r.Lines {
		if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
			values = append(values, strings.Trim(value, " \t"))
		}
	}
	return values
}

// Connection is what came over one connection.
type Connection struct {
	// Number counts the connections in the order in which they were accepted, from 1.
	Number int
	Remote string
	// Raw are the bytes that were received. Truncated says that there were more than
	// [Options.RawLimit].
	Raw       []byte
	Truncated bool
	// Requests is how many requests were parsed from them.
	Requests int
	// Closed says that the connection is closed.
	Closed bool
}

// recorder keeps what came in. It has its own lock, so that looking at it never
// waits for a handler.
type recorder struct {
	rawLimit int

	mu       sync.Mutex
	accepted int
	conns    []*Connection
	requests []*requestRecord
	crashes  int // of Mollymawk
	daemon   int // crashes of albatross' daemon
}

type requestRecord struct {
	owner   *recorder
	mu      sync.Mutex // guards the rest; taken after owner.mu
	request Request
	hash    hash.Hash
}

func newRecorder(rawLimit int) *recorder {
	return &recorder{rawLimit: rawLimit}
}

func (r *recorder) off() bool { return r.rawLimit < 0 }

func (r *recorder) accept(remote string) *Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted++
	c := &Connection{Number: r.accepted, Remote: remote}
	if !r.off() {
		r.conns = append(r.conns, c)
	}
	return c
}

func (r *recorder) received(c *Connection, p []byte) {
	if r.off() || len(p) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if room := r.rawLimit - len(c.Raw); len(p) > room {
		c.Truncated = true
		p = p[:room]
	}
	c.Raw = append(c.Raw, p...)
}

func (r *recorder) closed(c *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Closed = true
}

func (r *recorder) parsed(c *Connection, h *head) *requestRecord {
	record := &requestRecord{owner: r, hash: sha256.New(), request: Request{
		Connection: c.Number, Method: h.method, Target: h.target, Proto: h.proto(), Lines: h.lines,
	}}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Requests++
	if !r.off() {
		r.requests = append(r.requests, record)
	}
	return record
}

func (r *recorder) crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.crashes++
}

func (r *recorder) crashAlbatross() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.daemon++
}

// body takes note of a part of the request's body.
func (r *requestRecord) body(p []byte) {
	if r.owner.off() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.hash.Write(p) // never fails
	r.request.BodyLength += int64(len(p))
	if r.request.BodyLength < keepBody {
		r.request.Body = append(r.request.Body, p...)
	} else {
		r.request.Body = nil
	}
}

func (r *requestRecord) bodyEnded(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.request.BodyEnded, r.request.BodyBroken = true, broken
}

func (r *requestRecord) answered(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.request.Status = status
}

func (r *requestRecord) snapshot() Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	request := r.request
	request.Body = slices.Clone(request.Body)
	r.hash.Sum(request.BodySHA256[:0])
	return request
}

// Requests returns the requests parsed so far, oldest first. Those whose body
// isn't at its end yet are among them.
func (s *Server) Requests() []Request {
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	var requests []Request
	for _, record := range r.requests {
		requests = append(requests, record.snapshot())
	}
	return requests
}

// Connections returns what came over the connections accepted so far, oldest
// first.
func (s *Server) Connections() []Connection {
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	var conns []Connection
	for _, c := range r.conns {
		copied := *c
		copied.Raw = slices.Clone(c.Raw)
		conns = append(conns, copied)
	}
	return conns
}

// Crashes is how often a request has ended Mollymawk's process.
func (s *Server) Crashes() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return s.recorder.crashes
}

// AlbatrossCrashes is how often a request has ended albatross' daemon, which all
// users of a host share.
func (s *Server) AlbatrossCrashes() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return s.recorder.daemon
}

// Reset forgets all requests, bytes and crashes recorded so far, and the
// connections that are closed. Users, unikernels and blocks stay.
func (s *Server) Reset() {
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = slices.DeleteFunc(r.conns, func(c *Connection) bool { return c.Closed })
	for _, c := range r.conns {
		c.Raw, c.Truncated, c.Requests = nil, false, 0
	}
	r.requests, r.crashes, r.daemon = nil, 0, 0
}
