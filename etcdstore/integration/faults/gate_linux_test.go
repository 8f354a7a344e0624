package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	gatePort  = "8080"
	adminPort = "8081"
	backendAt = "127.0.0.1:9000"
)

// A gate is a Caddy that serves a gate and the admin API, with its own stand-in for the
// backend.
type gate struct {
	*process
	number int
	ip     string
	wall   *wall
	// data holds the store or the replica. It can be a small disk of its own.
	data    string
	backend *backend
}

// store is the line of the Caddyfile that names the store. {$DATA} is the gate's directory for
// data.
type store string

// localStore is a store of the gate's own.
const localStore store = "store bbolt {$DATA}/tokens.db"

// sharedStore is a store in the etcd cluster.
func sharedStore(members []*member, requestTimeout, maxStaleness time.Duration) store {
	return store(fmt.Sprintf(`store etcd {
			endpoints %s
			prefix /mollygate/
			request_timeout %s
			max_staleness %s
			replica {$DATA}/replica.db
		}`, strings.Join(endpoints(members), " "), requestTimeout, maxStaleness))
}

// caddyfile is the configuration of a gate with the given store.
func caddyfile(s store) string {
	return `{
	admin unix/{$DIR}/admin.sock
	grace_period 5s
	api_tokens {
		` + string(s) + `
		account default
	}
}
http://{$IP}:` + gatePort + ` {
	route {
		bearer_auth {
			route POST /call test:call
			failure_limit 1000000 1s
		}
		reverse_proxy ` + backendAt + ` {
			header_up Token-Id {http.auth.user.id}
			header_up Token-Name {http.auth.user.name}
		}
	}
}
http://{$IP}:` + adminPort + ` {
	api_tokens_admin
}
`
}

// address is the gate's address for clients.
func (g *gate) address(port string) string { return "http://" + net.JoinHostPort(g.ip, port) }

// stepClock sets the gate's clock to the present time plus a number of seconds.
func (g *gate) stepClock(seconds int) error {
	file := filepath.Join(g.dir, "clock-step")
	if err := os.WriteFile(file+".new", []byte(strconv.Itoa(seconds)), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file) // the gate must not read a partial file
}

// localAdmin returns a client for Caddy's own admin endpoint.
func (g *gate) localAdmin() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(g.dir, "admin.sock"))
		},
	}}
}

// serves reports whether the gate has opened its store.
func (g *gate) serves() bool {
	response, err := g.localAdmin().Get("http://caddy/api_tokens/v1/healthz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// ready waits until the gate serves.
func (g *gate) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !g.serves() {
		if !g.running() {
			return fmt.Errorf("%s has ended:\n%s", g.name, g.logTail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s doesn't serve:\n%s", g.name, g.logTail())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// A backend is a stand-in for the backend of a gate. It responds with the name of the token
// that the gate sent, and counts the requests of each token.
type backend struct {
	server *http.Server
	mu     sync.Mutex
	counts map[string]uint64
}

func startBackend(n *namespace) (*backend, error) {
	listener, err := n.listen(backendAt)
	if err != nil {
		return nil, fmt.Errorf("starting a backend: %w", err)
	}
	b := &backend{counts: make(map[string]uint64)}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := b.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return b, nil
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.counts[r.Header.Get("Token-Id")]++
	b.mu.Unlock()
	w.Header().Set("Token-Name", r.Header.Get("Token-Name"))
}
