package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load keeps a number of connections to a server busy: each connection sends its next request
// as soon as it has received the response to the previous one.
type load struct {
	server *server
	// requests are sent in rotation, and each connection starts with a different request. good
	// marks the requests that must receive status 200; the others must receive 401.
	requests [][]byte
	good     []bool

	connections []*connection
}

type connection struct {
	net.Conn
	reader *bufio.Reader
	next   int
}

// volume is the result of running a load for one slice.
type volume struct {
	requests  int
	latencies []time.Duration // sorted
}

func (v *volume) quantile(q float64) time.Duration {
	if len(v.latencies) == 0 {
		return 0
	}
	return v.latencies[min(int(q*float64(len(v.latencies))), len(v.latencies)-1)]
}

func (l *load) dial(ctx context.Context, connections int) error {
	for i := range connections {
		conn, err := l.server.dial(ctx)
		if err != nil {
			return err
		}
		l.connections = append(l.connections,
			&connection{conn, bufio.NewReader(conn), i * len(l.requests) / connections})
	}
	return nil
}

func (l *load) close() {
	for _, c := range l.connections {
		_ = c.Close()
	}
}

// run sends requests for the duration d.
func (l *load) run(d time.Duration) (volume, error) {
	var (
		mu   sync.Mutex
		sum  volume
		errs []error
		busy sync.WaitGroup
	)
	end := time.Now().Add(d)
	for _, c := range l.connections {
		busy.Go(func() {
			latencies, err := l.keepBusy(c, end)
			mu.Lock()
			defer mu.Unlock()
			sum.requests += len(latencies)
			sum.latencies = append(sum.latencies, latencies...)
			errs = append(errs, err)
		})
	}
	busy.Wait()
	slices.Sort(sum.latencies)
	return sum, errors.Join(errs...)
}

func (l *load) keepBusy(c *connection, end time.Time) (latencies []time.Duration, err error) {
	for start := time.Now(); start.Before(end); {
		i := c.next
		c.next = (c.next + 1) % len(l.requests)
		if _, err := c.Write(l.requests[i]); err != nil {
			return latencies, err
		}
		status, err := c.readResponse()
		if err != nil {
			return latencies, fmt.Errorf("reading a response from %s: %w", l.server.address, err)
		}
		if good := status == http.StatusOK; good != l.good[i] || !good && status != http.StatusUnauthorized {
			return latencies, fmt.Errorf("%s responded with unexpected status %d", l.server.address, status)
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(start))
		start = now
	}
	return latencies, nil
}

// readResponse reads a response, which must have a Content-Length or be chunked.
func (c *connection) readResponse() (status int, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, errors.New("status line too short")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length, chunked := -1, false
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= len("\r\n") {
			break
		}
		if value, ok := headerValue(line, "content-length:"); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		} else if _, ok := headerValue(line, "transfer-encoding:"); ok {
			chunked = true
		}
	}
	if chunked {
		return status, c.skipChunks()
	}
	if length < 0 {
		return 0, errors.New("response without a length")
	}
	_, err = c.reader.Discard(length)
	return status, err
}

func (c *connection) skipChunks() error {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(trim(line)), 16, 32)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c.reader, size+int64(len("\r\n"))); err != nil || size == 0 {
			return err
		}
	}
}

func headerValue(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) {
		return nil, false
	}
	for i := range len(name) {
		if line[i]|0x20 != name[i]|0x20 {
			return nil, false
		}
	}
	return trim(line[len(name):]), true
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[0] <= ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}
