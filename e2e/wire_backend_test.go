package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// seenRequest is a request as parsed by a backend.
type seenRequest struct {
	method, target string
	header         http.Header
	trailer        http.Header
	body           string
	// broken reports whether the body was malformed or ended early.
	broken bool
}

func (r seenRequest) String() string { return r.method + " " + r.target }

// goBackend is a net/http backend that records every byte and every request. It continues to
// read after a request, so that a smuggled request shows up.
type goBackend struct {
	*httptest.Server
	// responses holds the handlers for requests with ?answer=name.
	responses map[string]http.HandlerFunc

	mu   sync.Mutex
	raw  bytes.Buffer
	seen []seenRequest
	// changes counts reads and requests.
	changes int
}

func newGoBackend(t *testing.T, responses map[string]http.HandlerFunc) *goBackend {
	t.Helper()
	b := &goBackend{responses: responses}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(b.serve))
	b.Listener = recordingListener{b.Listener, b}
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetHTTP1(true)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.Start()
	t.Cleanup(func() {
		b.CloseClientConnections() // including upgraded ones
		b.Close()
	})
	return b
}

func (b *goBackend) addr() string { return b.Listener.Addr().String() }

func (b *goBackend) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	b.mu.Lock()
	b.changes++
	b.seen = append(b.seen, seenRequest{
		method: r.Method, target: r.RequestURI, header: r.Header.Clone(), trailer: r.Trailer.Clone(),
		body: string(body), broken: err != nil,
	})
	b.mu.Unlock()
	if response := b.responses[r.URL.Query().Get("answer")]; response != nil {
		response(w, r)
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		b.upgrade(w, r)
		return
	}
	_, _ = fmt.Fprintln(w, "seen", r.RequestURI)
}

// upgrade switches to a protocol that echoes bytes. Like a websocket server, it checks the
// version.
func (b *goBackend) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Websocket-Version") == "777" {
		w.Header().Set("Sec-Websocket-Version", "13")
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(conn, buffer)
}

// requests returns the requests since the last call to forget, oldest first.
func (b *goBackend) requests() []seenRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]seenRequest(nil), b.seen...)
}

// input returns all bytes received since the last call to forget.
func (b *goBackend) input() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.raw.String()
}

// waitUntilIdle waits until nothing has happened for a while, because an aborted request may
// still be on its way.
func (b *goBackend) waitUntilIdle(t *testing.T) {
	t.Helper()
	changes := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.changes
	}
	for before := -1; before != changes(); time.Sleep(50 * time.Millisecond) {
		before = changes()
	}
}

func (b *goBackend) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = nil
	b.raw.Reset()
}

// recordingListener records the bytes that its connections receive.
type recordingListener struct {
	net.Listener
	backend *goBackend
}

func (l recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return recordingConn{conn, l.backend}, nil
}

type recordingConn struct {
	net.Conn
	backend *goBackend
}

func (c recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.backend.mu.Lock()
	defer c.backend.mu.Unlock()
	c.backend.changes++
	c.backend.raw.Write(p[:n])
	return n, err
}

// mollymawkBackend provides goBackend's methods for the Mollymawk stand-in.
type mollymawkBackend struct{ *mollymawktest.Server }

func (b mollymawkBackend) requests() []seenRequest {
	var seen []seenRequest
	for _, r := range b.Requests() {
		header := make(http.Header)
		for _, line := range r.Lines {
			name, value, _ := strings.Cut(line, ":")
			header.Add(name, strings.Trim(value, " \t"))
		}
		seen = append(seen, seenRequest{method: r.Method, target: r.Target, header: header, body: string(r.Body),
			broken: r.BodyBroken})
	}
	return seen
}

func (b mollymawkBackend) input() string {
	var raw bytes.Buffer
	for _, connection := range b.Connections() {
		raw.Write(connection.Raw)
	}
	return raw.String()
}

func (b mollymawkBackend) forget() { b.Reset() }

// recordingBackend is the interface that both backends implement.
type recordingBackend interface {
	requests() []seenRequest
	input() string
	forget()
}

var (
	_ recordingBackend = (*goBackend)(nil)
	_ recordingBackend = mollymawkBackend{}
)
