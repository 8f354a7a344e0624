package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// streamsSite is a gate in front of a backend whose responses never end.
const streamsSite = `{
	admin unix/{$DIR}/admin.sock
	api_tokens {
		store bbolt {$DIR}/tokens.db
		account default
	}
}
http://127.0.0.1:{$HTTP} {
	bearer_auth {
		route GET /events stream:read
		route GET /download stream:read
	}
	reverse_proxy {$STREAMS} {
		flush_interval -1
	}
}
`

// streamPiece is the content that a stream repeats. No stream completes before its test ends.
const streamPiece = "data: a piece of a stream\n\n"

var streamHeads = map[string]string{
	"/events":   "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
	"/download": "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000000000\r\n\r\n",
}

// streamBackend responds with streams. It uses net instead of net/http to keep memory use per
// stream low.
type streamBackend struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newStreamBackend(f *fault) *streamBackend {
	f.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	b := &streamBackend{Listener: listener, conns: make(map[net.Conn]bool)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	f.Cleanup(func() {
		_ = listener.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		for conn := range b.conns {
			_ = conn.Close()
		}
	})
	return b
}

// serve responds to one request and waits until the gate closes the connection.
func (b *streamBackend) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, streamHeads[request.URL.Path]+streamPiece); err != nil {
		return
	}
	b.mu.Lock()
	b.conns[conn] = true
	b.mu.Unlock()
	_, _ = conn.Read(make([]byte, 1))
	b.mu.Lock()
	delete(b.conns, conn)
	b.mu.Unlock()
}

func (b *streamBackend) open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// send sends a piece on every stream.
func (b *streamBackend) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		_, _ = io.WriteString(conn, streamPiece)
	}
}

// tokenStreams tracks the streams of one token.
type tokenStreams struct {
	token string
	// opened is the number of streams opened, pieces the number of pieces received, and ended
	// the number of streams that have ended. complete counts the ended streams that look
	// complete.
	opened                  int
	pieces, ended, complete atomic.Int64
	lastEnded               atomic.Int64 // in nanoseconds since 1970
}

// begin opens a stream, waits for its first piece, and counts the pieces that follow.
func (s *tokenStreams) begin(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	piece := make([]byte, len(streamPiece))
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if _, err := io.ReadFull(response.Body, piece); err != nil {
		_ = response.Body.Close()
		return err
	}
	go func() {
		defer func() { _ = response.Body.Close() }()
		for {
			if _, err := io.ReadFull(response.Body, piece); err != nil {
				if err == io.EOF {
					s.complete.Add(1)
				}
				s.lastEnded.Store(time.Now().UnixNano())
				s.ended.Add(1)
				return
			}
			s.pieces.Add(1)
		}
	}()
	return nil
}

// faultStreams opens many event streams and downloads with several tokens, half of them over
// HTTP/1 and half over HTTP/2, and ends the tokens in different ways, one after the other.
// Each time, all of that token's streams must end, no client may mistake one for complete, and
// the other streams must continue.
func faultStreams(f *fault) {
	const tokens = 10
	streams := f.size(500, 10_000)
	f.needFiles(streams * 3 / 2) // one backend connection each, plus a client connection for half of them
	backend := newStreamBackend(f)
	c := newCaddy(f.T, map[string]string{"STREAMS": backend.Addr().String()})
	c.start(streamsSite)
	goroutines, files := c.goroutines(), c.openFiles()
	all := make([]*tokenStreams, tokens)
	for i := range all {
		all[i] = &tokenStreams{token: c.token("--scope", "stream:read"), opened: streams / tokens}
	}
	var clients [2]*http.Client
	for i, set := range []func(*http.Protocols, bool){(*http.Protocols).SetHTTP1,
		(*http.Protocols).SetUnencryptedHTTP2} {
		transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
		set(transport.Protocols, true)
		clients[i] = &http.Client{Transport: transport}
	}
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	begun := time.Now()
	inParallel(streams/tokens*tokens, func(i int) {
		path := [...]string{"/events", "/download"}[i/tokens%2]
		if err := all[i%tokens].begin(ctx, clients[i/tokens/2%2], c.url(path)); err != nil {
			f.Errorf("%s: %v", path, err)
		}
	})
	if f.Failed() {
		return
	}
	opened := time.Since(begun)
	heap, resident := c.live()
	// continues checks that each stream is still alive by waiting for another piece.
	continues := func(living []*tokenStreams) {
		f.Helper()
		before := make([]int64, len(living))
		for i, s := range living {
			before[i] = s.pieces.Load()
		}
		backend.send()
		for i, s := range living {
			c.eventually("each stream has received a piece", func() bool {
				return s.pieces.Load() == before[i]+int64(s.opened) || s.ended.Load() > 0
			})
			if n := s.ended.Load(); n > 0 {
				f.Errorf("%d of an active token's streams have ended", n)
			}
		}
	}
	continues(all)
	living := all
	var slowest time.Duration
	for _, way := range []string{"revoked", "deleted", "disabled", "rotated"} {
		ending := living[0]
		living = living[1:]
		lost := withdrawals[way]
		begun := time.Now()
		c.call(lost.method, "tokens/"+tokenID(ending.token)+lost.path, lost.body, lost.status)
		c.eventually("all streams of the "+way+" token have ended",
			func() bool { return ending.ended.Load() == int64(ending.opened) })
		slowest = max(slowest, time.Unix(0, ending.lastEnded.Load()).Sub(begun))
		if n := ending.complete.Load(); n > 0 {
			f.Errorf("%s: %d interrupted streams look complete", way, n)
		}
		c.eventually("the gate has closed the backend connections",
			func() bool { return backend.open() == len(living)*living[0].opened })
		continues(living)
	}
	f.Logf("%d streams opened in %v. Heap %d MiB, resident memory %d MiB. "+
		"The last of %d streams of an ended token ended after %v",
		streams, opened, heap>>20, resident>>20, streams/tokens, slowest)
	if slowest > closeTimeout {
		f.Errorf("streams continued for %v", slowest)
	}
	for _, s := range living {
		if allowed, denied := c.usage(s.token); allowed != uint64(s.opened) || denied != 0 {
			f.Errorf("counted %d and %d, want %d and 0", allowed, denied, s.opened)
		}
	}
	cancel()
	c.eventually("the gate has closed all streams", func() bool { return backend.open() == 0 })
	c.eventually("the clients have closed their connections", func() bool {
		for _, client := range clients { // a connection becomes idle once its last stream has ended
			client.CloseIdleConnections()
		}
		return c.openFiles() <= files+5
	})
	c.leavesNothing(goroutines, files)
	if strings.Contains(c.output.String(), "panic") {
		f.Errorf("Caddy panicked:\n%s", c.output)
	}
}
