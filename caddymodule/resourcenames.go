package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// backendChain is how requests get from a gate to its backend.
type backendChain struct {
	next   caddyhttp.Handler
	server *caddyhttp.Server
}

// noteChain remembers how an allowed request gets to the backend. Caddy passes the chain
// with each request, but it is the same for all of them.
func (h *BearerAuth) noteChain(r *http.Request, next caddyhttp.Handler) {
	if h.chain.Load() == nil {
		server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
		h.chain.CompareAndSwap(nil, &backendChain{next, server})
	}
}

const (
	// listTimeout is the maximum time to wait for a list of resources.
	listTimeout = 5 * time.Second
	// maxList is the maximum size of a list of resources, in bytes.
	maxList = 8 << 20
)

var (
	errNoChain = errors.New("the gate hasn't forwarded any request since the configuration was loaded")
	errTooLong = errors.New("the backend's list is too long")
)

// resourceNames asks the backends for the resources of an account, as "type/name". Each gate
// asks in the same way as it forwards requests. The error says why the list may be incomplete.
func (g *gates) resourceNames(ctx context.Context, account *Account) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	for _, h := range g.handlers() {
		for _, route := range h.gate.Routes() {
			if route.Listing == nil {
				continue
			}
			listed, failed := h.list(ctx, &route, account)
			names, err = append(names, listed...), errors.Join(err, failed)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// handlers returns the provisioned gates' handlers, one for each configuration.
func (g *gates) handlers() (handlers []*BearerAuth) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.configured {
		if c.handler != nil {
			handlers = append(handlers, c.handler)
		}
	}
	return handlers
}

// list makes a request for a list of resources on an account's behalf.
func (h *BearerAuth) list(ctx context.Context, route *gate.Route, account *Account) (names []string, err error) {
	chain := h.chain.Load()
	if chain == nil {
		return nil, errNoChain
	}
	r, err := http.NewRequestWithContext(ctx, route.Method, "http://localhost"+route.Path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.RequestURI, r.RemoteAddr = route.Path, "127.0.0.1:0"
	if authorization := account.credential().authorization; authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response := &listResponse{header: make(http.Header)}
	out := caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, chain.server)
	err = callNext(chain.next, response, out, func() bool { return true })
	switch {
	case response.tooLong: // a proxy then aborts the response
		return nil, errTooLong
	case err != nil:
		return nil, fmt.Errorf("the backend didn't respond: %w", h.app.redactConfigError(err))
	case response.status != http.StatusOK:
		return nil, fmt.Errorf("the backend responded with status %d", response.status)
	}
	err = route.Listing.Filter(io.Discard, &response.body, func(name string) bool {
		names = append(names, route.Listing.Type+"/"+name)
		return false
	})
	return names, err
}

// listResponse records the response to a request for a list.
type listResponse struct {
	header  http.Header
	status  int
	body    bytes.Buffer
	tooLong bool
}

// Header implements http.ResponseWriter.
func (l *listResponse) Header() http.Header { return l.header }

// WriteHeader implements http.ResponseWriter.
func (l *listResponse) WriteHeader(status int) {
	if l.status == 0 && status >= http.StatusOK {
		l.status = status
	}
}

// Write implements http.ResponseWriter.
func (l *listResponse) Write(b []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	if l.tooLong = l.tooLong || l.body.Len()+len(b) > maxList; l.tooLong {
		return 0, errTooLong
	}
	return l.body.Write(b)
}
