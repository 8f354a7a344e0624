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

// h3Early is HTTP/3 with the first request in early data (0-RTT), which an attacker on the
// network could record and replay. It uses Caddy's log to detect that a request has been
// answered.
type h3Early struct {
	caddy    *caddy
	address  string
	sessions tls.ClientSessionCache
}

func (h3Early) String() string { return "h3-early" }

// exchange sends a request before completing the handshake, completes it once the request has
// been answered, and then sends the request again for each further response.
func (w h3Early) exchange(r wireRequest, responses int) []wireResponse {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
	defer cancel()
	config := clientTLS(r.host, "h3", w.sessions)
	if err := w.takeTicket(ctx, config); err != nil {
		return []wireResponse{{err: err}}
	}
	socket, err := newSendOnlySocket()
	if err != nil {
		return []wireResponse{{err: err}}
	}
	defer func() { _ = socket.Close() }()
	transport := &quic.Transport{Conn: socket}
	defer func() { _ = transport.Close() }()
	to, err := net.ResolveUDPAddr("udp", w.address)
	if err != nil {
		return []wireResponse{{err: err}}
	}
	conn, err := transport.DialEarly(ctx, to, config, &quic.Config{HandshakeIdleTimeout: exchangeTimeout})
	if err != nil {
		return []wireResponse{{err: err}}
	}
	defer func() { _ = conn.CloseWithError(0, "") }()

	mark := w.caddy.logMark()
	if err := h3Open(ctx, conn); err != nil {
		return []wireResponse{{err: err}}
	}
	early, err := h3Send(ctx, conn, r)
	if err != nil {
		return []wireResponse{{err: err}}
	}
	if err := w.waitUntilAnswered(ctx, mark); err != nil {
		return []wireResponse{{err: err}}
	}
	socket.receives.Store(true)
	got := make([]wireResponse, responses)
	got[0].readH3(early)
	if !conn.ConnectionState().Used0RTT {
		got[0].err = errors.New("the server didn't accept the early data")
	}
	for i := 1; i < responses; i++ {
		stream, err := h3Send(ctx, conn, r)
		if err != nil {
			got[i].err = err
			continue
		}
		got[i].readH3(stream)
	}
	return got
}

// takeTicket opens a connection to get a session ticket if there is none yet.
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

// waitUntilAnswered waits for a new line in the access log.
func (w h3Early) waitUntilAnswered(ctx context.Context, mark int) error {
	return poll(ctx, func() bool { return strings.Contains(w.caddy.logSince(mark), `"handled request"`) })
}

func poll(ctx context.Context, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for the access log: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// sendOnlySocket discards everything it receives until receives is set, so that a handshake
// can't complete.
type sendOnlySocket struct {
	net.PacketConn
	receives atomic.Bool
}

func newSendOnlySocket() (*sendOnlySocket, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	return &sendOnlySocket{PacketConn: conn}, err
}

// ReadFrom implements net.PacketConn.
func (s *sendOnlySocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err != nil || s.receives.Load() {
			return n, from, err
		}
	}
}

var _ wire = h3Early{}
