package mollymawktest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// lingerTimeout is how long the server, after ending a connection, waits for the client to
// close it. Closing a connection with unread bytes could lose the response.
const lingerTimeout = 2 * time.Second

// conn is a connection. One goroutine reads its requests and responds, one at a time.
type conn struct {
	srv    *Server
	net    net.Conn
	r      *bufio.Reader
	record *Connection
	once   sync.Once
	// cut is closed by reset.
	cut     chan struct{}
	cutOnce sync.Once
	// gone is closed when the client disconnects. It is nil until watch is called.
	gone chan struct{}
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, net: nc, cut: make(chan struct{}), record: s.recorder.accept(nc.RemoteAddr().String())}
	c.r = bufio.NewReaderSize(c, 64<<10)
	return c
}

// Read implements io.Reader. It records all received bytes.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.net.Read(p)
	c.srv.recorder.received(c.record, p[:n])
	return n, err
}

func (c *conn) serve() {
	defer c.close()
	for {
		h, err := readHead(c.r)
		if errors.Is(err, errMalformed) {
			c.ignore()
			return
		}
		if err != nil {
			return
		}
		length, chunked, err := h.framing()
		if err != nil {
			c.ignore()
			return
		}
		call := c.newCall(h, length, chunked)
		c.srv.dispatch(call)
		if !c.endRequest(call) {
			return
		}
	}
}

// endRequest completes a request after its handler has returned and reports whether another
// request may follow.
func (c *conn) endRequest(call *call) bool {
	switch {
	case call.over:
		c.finish(call)
		return false
	case call.state == waiting:
		call.body.drain()
		c.ignore()
		return false
	case call.state == streaming, call.closes, !call.head.persistent():
		c.finish(call)
		return false
	}
	// H1 reads the rest of the body after the response, no matter how long it is.
	if !call.body.drain() {
		c.ignore()
		return false
	}
	return true
}

// ignore discards received bytes until the client closes the connection.
func (c *conn) ignore() { _, _ = io.Copy(io.Discard, c.r) }

// watch discards received bytes while the server streams a response that ends when the
// connection closes. It returns a channel that is closed when the client disconnects.
func (c *conn) watch() <-chan struct{} {
	c.gone = make(chan struct{})
	c.srv.tasks.Go(func() {
		defer close(c.gone)
		c.ignore()
	})
	return c.gone
}

// finish ends the connection once the client has received the response. Until then, it
// keeps recording the request.
func (c *conn) finish(call *call) {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the client may have disconnected
	}
	if c.gone == nil {
		_ = c.net.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails only if the connection is closed
		call.body.drain()
		c.ignore()
		return
	}
	select {
	case <-c.gone:
	case <-time.After(lingerTimeout):
	}
}

func (c *conn) close() {
	c.once.Do(func() {
		_ = c.net.Close() // nothing can be done about an error
		c.srv.untrack(c)
		c.srv.recorder.closed(c.record)
	})
}

// reset closes the connection immediately, with a TCP reset if possible.
func (c *conn) reset() {
	c.cutOnce.Do(func() { close(c.cut) })
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // if this fails, the close is orderly
	}
	c.close()
}

var _ io.Reader = (*conn)(nil)
