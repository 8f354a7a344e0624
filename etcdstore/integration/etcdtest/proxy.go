package etcdtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy is a TCP proxy that can hold back data without closing the connections, like a network
// that loses packets. It is safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	copying  sync.WaitGroup
	requests gate
	answers  gate
	// answered is the number of bytes that the member has sent.
	answered atomic.Int64

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

// StartProxy starts a proxy for a member's address, such as "127.0.0.1:2379". It stops when the
// test ends.
func StartProxy(t testing.TB, address string) *Proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: address, listener: listener, conns: make(map[net.Conn]bool)}
	p.requests.init()
	p.answers.init()
	p.copying.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Proxy starts a proxy for a member and returns it with its URL.
func (c *Cluster) Proxy(i int) (*Proxy, string) {
	c.t.Helper()
	p := StartProxy(c.t, c.configs[i].ListenClientUrls[0].Host)
	return p, c.scheme + "://" + p.listener.Addr().String()
}

// Block holds back requests, answers or both.
func (p *Proxy) Block(requests, answers bool) {
	p.requests.set(!requests)
	p.answers.set(!answers)
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.Block(false, false)
	p.copying.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.add(client, server) {
			return
		}
		p.copying.Go(func() { p.copy(server, client, &p.requests, new(atomic.Int64)) })
		p.copying.Go(func() { p.copy(client, server, &p.answers, &p.answered) })
	}
}

// add reports false if the proxy is closed.
func (p *Proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.closed {
			_ = conn.Close()
			continue
		}
		p.conns[conn] = true
	}
	return !p.closed
}

// Answered returns the number of bytes that the member has sent.
func (p *Proxy) Answered() int64 { return p.answered.Load() }

// copy copies data while the gate is open, and closes both connections at the end. It adds the
// number of bytes to copied.
func (p *Proxy) copy(to, from net.Conn, open *gate, copied *atomic.Int64) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, conn := range []net.Conn{to, from} {
			delete(p.conns, conn)
			_ = conn.Close()
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		open.wait()
		if n > 0 {
			copied.Add(int64(n))
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// gate makes goroutines wait while it is closed.
type gate struct {
	mu      sync.Mutex
	changed sync.Cond
	open    bool
}

func (g *gate) init() { g.changed.L, g.open = &g.mu, true }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	g.changed.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.open {
		g.changed.Wait()
	}
}
