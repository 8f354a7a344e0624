package e2e

import (
	"context"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// keepAliveAdmin returns an admin endpoint client that keeps a single connection open.
func (c *caddy) keepAliveAdmin() *http.Client {
	transport := &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.path("admin.sock"))
		},
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// limitFiles limits how many files and sockets Caddy may have open.
func (c *caddy) limitFiles(limit int) {
	c.t.Helper()
	var now unix.Rlimit
	err := unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &now)
	if err == nil {
		err = unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: now.Max}, nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// faultDescriptors uses up all of a running Caddy's file descriptors with idle connections.
// Caddy must continue to serve open connections. Revoking a token must work on an open
// connection, and on a new one as soon as descriptors are free. No count may be lost.
func faultDescriptors(f *fault) {
	c := newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)
	for range f.size(2, 20) {
		admin, kept := c.keepAliveAdmin(), c.keepAliveAdmin()
		first, second, good := c.token("--scope", "test:allowed"), c.token("--scope", "test:allowed"),
			c.token("--scope", "test:allowed")
		client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
		ask := func(what, token string, want int) {
			f.Helper()
			request, err := http.NewRequestWithContext(f.Context(), http.MethodGet, c.url("/allowed"), nil)
			if err != nil {
				f.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			if response := doRequest(client, request); response.err != nil || response.status != want {
				f.Errorf("%s: got %v, want %d", what, response, want)
			}
		}
		ask("before", good, http.StatusOK)
		for _, client := range []*http.Client{admin, kept} {
			if status, text := c.tryAdmin(client, http.MethodGet, "healthz", nil); status != http.StatusOK {
				f.Errorf("healthz returned status %d: %s", status, text)
			}
		}
		stop := useMeanwhile(c, tokens, f.random.Uint64())
		answeredMore(c, tokens, 1000) // by then, all clients are connected

		limit := c.openFiles() + 4
		c.limitFiles(limit)
		var idle []net.Conn
		for range 100 {
			conn, err := net.Dial("tcp", "127.0.0.1:"+c.env["HTTP"])
			if err != nil {
				f.Fatal(err)
			}
			idle = append(idle, conn)
		}
		c.eventually("all descriptors are in use", func() bool { return c.openFiles() >= limit })
		answeredMore(c, tokens, 2000)
		ask("a token", good, http.StatusOK)
		if status, text := c.tryAdmin(admin, http.MethodPost, "tokens/"+tokenID(first)+"/revoke",
			nil); status != http.StatusOK {
			f.Errorf("revoking on an open connection: got status %d: %s", status, text)
		}
		ask("a token revoked on an open connection", first, http.StatusUnauthorized)

		// A new connection waits for a free descriptor.
		revoked := make(chan int, 1)
		go func() {
			request, err := http.NewRequestWithContext(f.Context(), http.MethodPost,
				"http://caddy/api_tokens/v1/tokens/"+tokenID(second)+"/revoke", nil)
			if err != nil {
				panic(err)
			}
			revoked <- doRequest(c.admin(), request).status
		}()
		ask("a token not yet revoked", second, http.StatusOK)
		for _, conn := range idle {
			_ = conn.Close()
		}
		select {
		case status := <-revoked:
			if status != http.StatusOK {
				f.Errorf("revoking on a new connection: got status %d", status)
			}
		case <-time.After(exchangeTimeout):
			f.Error("a new connection isn't served even though descriptors are free")
		}
		ask("a token revoked on a new connection", second, http.StatusUnauthorized)
		stop()
		c.limitFiles(limit + 1000)
		client.CloseIdleConnections()
		admin.CloseIdleConnections()
		kept.CloseIdleConnections()
		checkUsage(c, tokens)
		if f.Failed() {
			return
		}
	}
	c.restart(countingSite)
	last := checkUsage(c, tokens)
	f.Logf("%d requests sent, %d answered, %d counted", last.sent, last.answered, last.counted)
}
