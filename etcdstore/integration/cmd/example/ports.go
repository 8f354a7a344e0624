//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// ports finds free ports.
type ports map[int]bool

// find returns the given port or, if it is in use, the next free one.
func (p ports) find(purpose string, wanted int) (int, error) {
	for port := wanted; port < wanted+200; port++ {
		if !p[port] && isFree(port) {
			p[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("ports %d to %d are in use, so there is none for %s", wanted, wanted+199, purpose)
}

// isFree reports whether no program uses a port. Caddy shares its ports with other processes of
// the same user, so it isn't enough to listen.
func isFree(port int) bool {
	dialer := net.Dialer{Timeout: time.Second}
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := dialer.DialContext(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
			return false
		}
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
