package mollymawktest

import (
	"crypto/sha256"
	"hash"
	"slices"
	"strings"
	"sync"
)

// maxRecordedBody is the size, in bytes, at which the recorder stops storing a request's
// body.
const maxRecordedBody = 1 << 20

// Request is a request as the server received and parsed it.
type Request struct {
	// Connection is the number of the connection that carried the request.
	Connection int
	// Method, Target and Proto are the parts of the request line.
	Method, Target, Proto string
	// Lines are the header lines, in order, without line endings.
	Lines []string
	// Body is the body without its chunked coding. It is nil for bodies of 1 MiB or more.
	Body []byte
	// BodyLength, in bytes, and BodySHA256 are set for bodies of any length.
	BodyLength int64
	BodySHA256 [sha256.Size]byte
	// BodyEnded reports whether the body has ended. BodyBroken reports whether it was
	// malformed or ended early, even if it looked complete to the handler.
	BodyEnded, BodyBroken bool
	// Status is the response's status, or 0 if there is no response yet.
	Status int
}

// Values returns the values of all headers with this name, in order.
func (r Request) Values(name string) []string {
	var values []string
	for _, line := range r.Lines {
		if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
			values = append(values, strings.Trim(value, " \t"))
		}
	}
	return values
}

// Connection is a connection and the bytes received on it.
type Connection struct {
	// Number is the connection's number, counted from 1 in the order of acceptance.
	Number int
	Remote string
	// Raw holds the received bytes. Truncated reports whether more than [Options.RawLimit]
	// bytes were received.
	Raw       []byte
	Truncated bool
	// Requests is the number of requests parsed from these bytes.
	Requests int
	// Closed reports whether the connection is closed.
	Closed bool
}

// recorder stores what the server receives. It has its own lock, so reading the records
// never waits for a handler.
type recorder struct {
	rawLimit int

	mu       sync.Mutex
	accepted int
	conns    []*Connection
	requests []*requestRecord
	crashes  int // of Mollymawk
	daemon   int // crashes of albatross's daemon
}

type requestRecord struct {
	owner   *recorder
	mu      sync.Mutex // guards the fields below; locked after owner.mu
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

// body records a part of the request's body.
func (r *requestRecord) body(p []byte) {
	if r.owner.off() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.hash.Write(p) // never fails
	r.request.BodyLength += int64(len(p))
	if r.request.BodyLength < maxRecordedBody {
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

func (r *requestRecord) responded(status int) {
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

// Requests returns the requests parsed so far, oldest first. It includes requests whose
// bodies haven't ended yet.
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

// Connections returns the connections accepted so far, oldest first.
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

// Crashes returns how many times a request has crashed Mollymawk's process.
func (s *Server) Crashes() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return s.recorder.crashes
}

// AlbatrossCrashes returns how many times a request has crashed albatross's daemon, which
// all users of a host share.
func (s *Server) AlbatrossCrashes() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return s.recorder.daemon
}

// Reset discards all requests, bytes and crashes recorded so far, and all closed
// connections. It keeps users, unikernels and blocks.
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
