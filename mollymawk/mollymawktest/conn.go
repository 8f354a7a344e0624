package mollymawktest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// lingering is how long a connection that the server ends waits for the client
// to close it too, so that the answer isn't lost with the bytes that were never
// read.
const lingering = 2 * time.Second

// conn is one connection. One goroutine reads requests and answers them, one at a
// time.
type conn struct {
	srv    *Server
	net    net.Conn
	r      *bufio.Reader
	record *Connection
	once   sync.Once
	// cut is closed by reset.
	cut     chan struct{}
	cutOnce sync.Once
	// gone is made by watch.
	gone chan struct{}
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, net: nc, cut: make(chan struct{}), record: s.recorder.accept(nc.RemoteAddr().String())}
	c.r = bufio.NewReaderSize(c, 64<<10)
	return c
}

// Read takes note of every byte that is received.
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
		if !c.goesOn(call) {
			return
		}
	}
}

// goesOn ends what the handler left open of a request, and reports whether another
// may follow.
func (c *conn) goesOn(call *call) bool {
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
	// H1 reads on after the answer, however long the body is.
	if !call.body.drain() {
		c.ignore()
		return false
	}
	return true
}

// ignore takes what still comes in until the client closes the connection.
func (c *conn) ignore() { _, _ = io.Copy(io.Discard, c.r) }

// watch reads on while an answer is streamed that the connection ends with, and
// returns a channel that is closed when the client is gone.
func (c *conn) watch() <-chan struct{} {
	c.gone = make(chan struct{})
	c.srv.tasks.Go(func() {
		defer close(c.gone)
		c.ignore()
	})
	return c.gone
}

// finish ends the connection once the client has got the answer. What is left of
// the request is still recorded.
func (c *conn) finish(call *call) {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the client may be gone
	}
	if c.gone == nil {
		_ = c.net.SetReadDeadline(time.Now().Add(lingering)) // fails only if it is closed
		call.body.drain()
		c.ignore()
		return
	}
	select {
	case <-c.gone:
	case <-time.After(lingering):
	}
}

func (c *conn) close() {
	c.once.Do(func() {
		_ = c.net.Close() // nothing is to be saved by an error
		c.srv.untrack(c)
		c.srv.recorder.closed(c.record)
	})
}

// reset closes the connection in the middle of whatever goes on.
func (c *conn) reset() {
	c.cutOnce.Do(func() { close(c.cut) })
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then it is an orderly close
	}
	c.close()
}

var _ io.Reader = (*conn)(nil)
