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

// Generation is the age of the Mollymawk that is imitated.
type Generation int

const (
	// Current is Mollymawk as of August 2026.
	Current Generation = iota
	// Generation2025 is Mollymawk as its handbook of December 2025 has it: block
	// devices under /api/volume/, restart by JSON name and albatross_instance; no
	// deploy_mode, typ and cpuid needed to create a unikernel, and no block_size to
	// upload; neither scaling nor monitoring; an unknown session is echoed. Everything
	// else is as in Current.
	Generation2025
)

// Options are the settings of a server. The zero value is a current Mollymawk
// with the one albatross instance "default".
type Options struct {
	Generation Generation
	// Address to listen on. Default: a free port of the loopback interface.
	Address string
	// Instances are the names of the albatross instances. Default: "default".
	Instances []string
	// Policy is what users may have on each instance. Default:
	// 20 unikernels, CPUs 0 to 3, 16 GiB of memory, 64 GiB of block devices, and the
	// bridges service and lan. See [Server.SetPolicy] for another.
	Policy *Policy
	// Jobs are what the builder can deliver images of. Default: "hello", "website".
	Jobs []string
	// Clock tells the time for expiry, timestamps and rollbacks. Default: time.Now.
	Clock func() time.Time
	// Memory is how many bytes of a body Mollymawk can hold. A longer one, even if it
	// is only announced, ends the process. Uploads are not held. Default: 512 MiB.
	Memory int64
	// RawLimit is how many bytes of each connection are kept. Default: 64 MiB.
	// Negative: neither bytes nor requests are recorded, for a server that runs for
	// long.
	RawLimit int
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

// Server is a running stand-in. All its methods may be called at any time from
// any goroutine.
type Server struct {
	options  Options
	listener net.Listener
	routes   map[string]route
	faults   atomic.Pointer[Faults]
	recorder *recorder
	done     chan struct{} // closed by Close
	tasks    sync.WaitGroup

	mu        sync.Mutex // guards all below
	closed    bool
	conns     map[*conn]struct{}
	users     []*user
	instances map[string]*instance
}

// TB is the part of testing.TB that [New] needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// New starts a server that is closed at the end of the test.
func New(tb TB, options Options) *Server {
	tb.Helper()
	s, err := Listen(options)
	if err != nil {
		tb.Fatalf("mollymawktest: %v", err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Listen starts a server. It answers until Close is called.
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
			return nil, fmt.Errorf("name of an instance: %w", err)
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
			case <-time.After(10 * time.Millisecond): // out of files, most likely
				continue
			}
		}
		c := newConn(s, nc)
		if !s.track(c) {
			_ = nc.Close() // it came too late
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

// Addr is the address that the server listens on, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the server's root without a slash at its end.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Close ends the server and all its connections, and waits until they are gone.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.listener.Close() // it is gone either way
	}
	s.mu.Unlock()
	s.cutAllBut(nil)
	s.tasks.Wait()
}

// cutAllBut resets every open connection but one, which ends in order after what was
// sent on it.
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
