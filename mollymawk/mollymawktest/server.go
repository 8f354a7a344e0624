package mollymawktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Generation is the version of Mollymawk's API that the server imitates.
type Generation int

const (
	// Current is Mollymawk as of August 2026.
	Current Generation = iota
	// Generation2025 is Mollymawk as described in its December 2025 handbook. The paths for
	// block devices start with /api/volume/. Restart reads name and albatross_instance from
	// a JSON body. Creating a unikernel doesn't require deploy_mode, typ or cpuid, and
	// uploading a block doesn't require block_size. There is no scaling or monitoring. The
	// error for an unknown session includes the session value. Everything else matches
	// Current.
	Generation2025
)

// Options configures a server. The zero value imitates a current Mollymawk with one
// albatross instance, "default".
type Options struct {
	Generation Generation
	// Address is the address to listen on. The default is a free port on the loopback
	// interface.
	Address string
	// Instances lists the names of the albatross instances. Default: "default".
	Instances []string
	// Policy is each user's policy on every instance unless [Server.SetPolicy] sets another
	// one. Default: 20 unikernels, CPUs 0 to 3, 16 GiB of memory, 64 GiB of block devices,
	// and the bridges service and lan.
	Policy *Policy
	// Jobs lists the jobs for which the builder has images. Default: "hello", "website".
	Jobs []string
	// Clock returns the time used for expiry, timestamps and rollbacks. Default: time.Now.
	Clock func() time.Time
	// Memory is the length, in bytes, of the longest body that Mollymawk can hold in
	// memory. A longer body or Content-Length crashes the process. Uploads aren't held in
	// memory. Default: 512 MiB.
	Memory int64
	// RawLimit is the maximum number of bytes to record per connection. Default: 64 MiB. If
	// it is negative, the server records neither bytes nor requests, which is best for
	// long-running servers.
	RawLimit int
	// Acted, if not nil, is called with what each request acts on. It may be called concurrently
	// and must not call the server.
	Acted func(Action)
}

func (o Options) withDefaults() Options {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if len(o.Instances) == 0 {
		o.Instances = []string{"default"}
	}
	if o.Policy == nil {
		o.Policy = &Policy{Unikernels: 20, CPUs: []int{0, 1, 2, 3}, Memory: 16 << 10, Block: 64 << 10,
			Bridges: []string{"service", "lan"}}
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.Jobs == nil {
		o.Jobs = []string{"hello", "website"}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.RawLimit == 0 {
		o.RawLimit = 64 << 20
	}
	return o
}

// Server is a running stand-in. Its methods are safe for concurrent use.
type Server struct {
	options  Options
	listener net.Listener
	routes   map[string]route
	faults   atomic.Pointer[Faults]
	recorder *recorder
	done     chan struct{} // closed by Close
	tasks    sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	closed    bool
	conns     map[*conn]struct{}
	users     []*user
	instances map[string]*instance
}

// TB is the subset of testing.TB that [New] needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// New starts a server and closes it at the end of the test.
func New(tb TB, options Options) *Server {
	tb.Helper()
	s, err := Listen(options)
	if err != nil {
		tb.Fatalf("mollymawktest: %v", err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Listen starts a server, which runs until Close is called.
func Listen(options Options) (*Server, error) {
	s := &Server{
		options:   options.withDefaults(),
		done:      make(chan struct{}),
		conns:     make(map[*conn]struct{}),
		instances: make(map[string]*instance),
	}
	for _, name := range s.options.Instances {
		name, err := label(name)
		if err != nil {
			return nil, fmt.Errorf("instance name: %w", err)
		}
		s.instances[name] = newInstance()
	}
	s.recorder = newRecorder(s.options.RawLimit)
	s.routes = s.table()
	s.faults.Store(&Faults{})
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", s.options.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP: %w", err)
	}
	s.listener = listener
	s.tasks.Go(s.accept)
	return s, nil
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond): // probably out of file descriptors
				continue
			}
		}
		c := newConn(s, nc)
		if !s.track(c) {
			_ = nc.Close() // the server is already closed
			return
		}
		s.tasks.Go(c.serve)
	}
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Addr returns the address that the server listens on, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL returns the server's base URL, without a trailing slash.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Close shuts down the server, resets its connections and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.listener.Close() // nothing can be done about an error
	}
	s.mu.Unlock()
	s.cutAllBut(nil)
	s.tasks.Wait()
}

// cutAllBut resets every open connection except last, which the caller closes in an orderly
// way.
func (s *Server) cutAllBut(last *conn) {
	s.mu.Lock()
	conns := maps.Clone(s.conns)
	s.mu.Unlock()
	for c := range conns {
		if c != last {
			c.reset()
		}
	}
}

func (s *Server) now() time.Time { return s.options.Clock() }
