package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// h3Early is HTTP/3 whose first request comes in early data (0-RTT): recorded by
// somebody on the wire, the same bytes could come any number of times. It knows
// from Caddy's log when a request has been answered.
type h3Early struct {
	caddy    *caddy
	address  string
	sessions tls.ClientSessionCache
}

func (h3Early) String() string { return "h3-early" }

// exchange sends a request before the handshake, which waits until it has been
// answered, and again after it if there is to be another answer.
func (w h3Early) exchange(r wireRequest, answers int) []wireAnswer {
	ctx, cancel := context.WithTimeout(context.Background(), wirePatience)
	defer cancel()
	config := clientTLS(r.host, "h3", w.sessions)
	if err := w.takeTicket(ctx, config); err != nil {
		return []wireAnswer{{err: err}}
	}
	socket, err := newDeafSocket()
	if err != nil {
		return []wireAnswer{{err: err}}
	}
	defer func() { _ = socket.Close() }()
	transport := &quic.Transport{Conn: socket}
	defer func() { _ = transport.Close() }()
	to, err := net.ResolveUDPAddr("udp", w.address)
	if err != nil {
		return []wireAnswer{{err: err}}
	}
	conn, err := transport.DialEarly(ctx, to, config, &quic.Config{HandshakeIdleTimeout: wirePatience})
	if err != nil {
		return []wireAnswer{{err: err}}
	}
	defer func() { _ = conn.CloseWithError(0, "") }()

	mark := w.caddy.logMark()
	if err := h3Open(ctx, conn); err != nil {
		return []wireAnswer{{err: err}}
	}
	early, err := h3Send(ctx, conn, r)
	if err != nil {
		return []wireAnswer{{err: err}}
	}
	if err := w.waitUntilAnswered(ctx, mark); err != nil {
		return []wireAnswer{{err: err}}
	}
	socket.hears.Store(true)
	got := make([]wireAnswer, answers)
	got[0].readH3(early)
	if !conn.ConnectionState().Used0RTT {
		got[0].err = errors.New("the server didn't take the early data")
	}
	for i := 1; i < answers; i++ {
		stream, err := h3Send(ctx, conn, r)
		if err != nil {
			got[i].err = err
			continue
		}
		got[i].readH3(stream)
	}
	return got
}

// takeTicket makes a connection to be resumed, if there has been none.
func (w h3Early) takeTicket(ctx context.Context, config *tls.Config) error {
	if _, ok := w.sessions.Get(config.ServerName); ok {
		return nil
	}
	conn, err := quic.DialAddr(ctx, w.address, config, &quic.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	return poll(ctx, func() bool {
		_, ok := w.sessions.Get(config.ServerName)
		return ok
	})
}

// waitUntilAnswered waits for a line of the access log.
func (w h3Early) waitUntilAnswered(ctx context.Context, mark int) error {
	return poll(ctx, func() bool { return strings.Contains(w.caddy.logSince(mark), `"handled request"`) })
}

func poll(ctx context.Context, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// deafSocket sends everything and hears nothing until it is let: a client with it
// never comes to the end of a handshake.
type deafSocket struct {
	net.PacketConn
	hears atomic.Bool
}

func newDeafSocket() (*deafSocket, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	return &deafSocket{PacketConn: conn}, err
}

// ReadFrom implements net.PacketConn.
func (s *deafSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err != nil || s.hears.Load() {
			return n, from, err
		}
	}
}

var _ wire = h3Early{}
