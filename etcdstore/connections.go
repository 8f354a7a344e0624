package etcdstore

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// connections closes connections to members that don't answer, so that other requests go to
// other members. Otherwise, the kernel would close them once sent data hasn't been acknowledged
// for keepAliveTimeout, and gRPC once a probe hasn't been answered: after 13 seconds.
//
// gRPC sets the kernel's timeout only for connections of type *net.TCPConn, so dial sets it.
type connections struct {
	dialer net.Dialer
	mu     sync.Mutex
	open   map[string]*connection // by local address
}

func newConnections(timeout time.Duration) *connections {
	return &connections{dialer: net.Dialer{Timeout: timeout}, open: make(map[string]*connection)}
}

// connection is a connection that knows when it last received something.
type connection struct {
	net.Conn
	all  *connections
	name string
	// heard is when Read last returned data.
	heard atomic.Pointer[time.Time]
}

func (c *connections) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := limitUnacknowledged(conn.(*net.TCPConn)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	tracked := &connection{Conn: conn, all: c, name: conn.LocalAddr().String()}
	now := time.Now()
	tracked.heard.Store(&now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked.name] = tracked
	return tracked, nil
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		now := time.Now()
		c.heard.Store(&now)
	}
	return n, err
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.mu.Lock()
	if c.all.open[c.name] == c {
		delete(c.all.open, c.name)
	}
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// minSilence is how long a connection must be silent to be closed. Callers may have shorter
// timeouts.
const minSilence = time.Second

// unanswered closes the connection of a call that wasn't answered, unless something else has
// been received on the connection since the call was sent.
func (c *connections) unanswered(p *peer.Peer, sent time.Time) {
	if p == nil || p.LocalAddr == nil || time.Since(sent) < minSilence {
		return
	}
	c.mu.Lock()
	conn := c.open[p.LocalAddr.String()]
	c.mu.Unlock()
	if conn != nil && conn.heard.Load().Before(sent) {
		_ = conn.Close() // fails if it is already closed
	}
}

// attempt is what is known about one attempt of a call.
type attempt struct {
	// sent is set if the request may have reached a member.
	sent bool
	// err is the error before the etcd client shortened it.
	err error
}

type attemptKey struct{}

// intercept is a [grpc.UnaryClientInterceptor]. It fills in the context's attempt.
func (c *connections) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var to peer.Peer
	start := time.Now()
	err := invoke(ctx, method, request, reply, cc, append(options, grpc.Peer(&to))...)
	if status.Code(err) == codes.DeadlineExceeded {
		c.unanswered(&to, start)
	}
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.err = err
		// gRPC sets the peer once it has sent the request's header.
		a.sent = a.sent || to.Addr != nil
	}
	return err
}
