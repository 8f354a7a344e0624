package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The clients in these files write every byte themselves, because libraries refuse to send
// what an attacker would send.

// wireRequest is a request in an attack table. It has the same meaning over every protocol
// that can express it.
type wireRequest struct {
	host           string
	method, target string
	// header contains "Name: value" lines, in order. HTTP/2 and HTTP/3 send names in lower
	// case.
	header  []string
	body    string
	trailer []string
	// chunked sends the body without declaring its length.
	chunked bool
	// unfinished omits the body and everything after it.
	unfinished bool
	// pseudo replaces the pseudo-header fields of HTTP/2 and HTTP/3 with lines ":name value".
	pseudo []string
	// asWritten preserves the case of names.
	asWritten bool
	// raw contains the bytes of one or more HTTP/1 requests. It replaces all fields above
	// except host.
	raw string
}

// expand replaces token names in all parts of the request.
func (r wireRequest) expand(replace func(string) string) wireRequest {
	each := func(lines []string) []string {
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i] = replace(lines[i])
		}
		return lines
	}
	r.method, r.target, r.body, r.raw = replace(r.method), replace(r.target), replace(r.body), replace(r.raw)
	r.header, r.trailer, r.pseudo = each(r.header), each(r.trailer), each(r.pseudo)
	return r
}

// hasHeader reports whether header has a line with the given name.
func (r wireRequest) hasHeader(name string) bool {
	return slices.ContainsFunc(r.header, func(line string) bool {
		got, _, _ := strings.Cut(line, ":")
		return strings.EqualFold(got, name)
	})
}

// announces reports whether the request tells the server to expect a body.
func (r wireRequest) announces() bool {
	return r.body != "" || r.chunked || len(r.trailer) > 0 || r.hasHeader("Content-Length") ||
		r.hasHeader("Transfer-Encoding")
}

// fields returns the request's header fields in HTTP/2 and HTTP/3.
func (r wireRequest) fields(scheme string) [][2]string {
	lines := r.pseudo
	if lines == nil {
		lines = []string{":method " + r.method, ":scheme " + scheme, ":authority " + r.host, ":path " + r.target}
	}
	var fields [][2]string
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, " "); ok {
			fields = append(fields, [2]string{name, value})
		}
	}
	fields = append(fields, r.split(r.header)...)
	if r.body != "" && !r.chunked && len(r.trailer) == 0 && !r.hasHeader("Content-Length") {
		fields = append(fields, [2]string{"content-length", strconv.Itoa(len(r.body))})
	}
	return fields
}

func (r wireRequest) split(lines []string) [][2]string {
	var fields [][2]string
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		if !r.asWritten {
			name = strings.ToLower(name)
		}
		fields = append(fields, [2]string{name, strings.TrimPrefix(value, " ")})
	}
	return fields
}

// wireResponse is a response, or the reason why there is none.
type wireResponse struct {
	// status is 0 if the connection or the stream ended without a response.
	status  int
	header  http.Header
	body    string
	trailer http.Header
	// interim holds the preceding 1xx responses.
	interim []wireResponse
	// closed reports whether the server closed the connection after the response.
	closed bool
	// err is the reason why the response is incomplete, or nil.
	err error
}

// text returns everything that the client received as part of the response.
func (a wireResponse) text() string {
	var b strings.Builder
	for _, interim := range a.interim {
		b.WriteString(interim.text())
	}
	fmt.Fprintln(&b, a.status)
	for _, header := range []http.Header{a.header, a.trailer} {
		for name, values := range header {
			fmt.Fprintln(&b, name, values)
		}
	}
	b.WriteString(a.body)
	return b.String()
}

// exchangeTimeout is how long a client waits for a response before treating it as missing.
const exchangeTimeout = 20 * time.Second

// closeTimeout is how long a server may take to close a connection after announcing that it
// will.
const closeTimeout = 5 * time.Second

// wire is a protocol for talking to Caddy. Each exchange uses a new connection.
type wire interface {
	// String returns the protocol's name in test tables.
	String() string
	// exchange sends a request and returns up to the given number of responses. Only HTTP/1
	// can return more than one.
	exchange(r wireRequest, responses int) []wireResponse
}

// wires returns the protocols that Caddy serves on its ports.
func (c *caddy) wires() []wire {
	plain, secure := "127.0.0.1:"+c.env["HTTP"], "127.0.0.1:"+c.env["HTTPS"]
	return []wire{h1{plain}, h2{secure, newSessions()}, h2{plain, nil}, h3{secure, newSessions()}}
}

// newSessions returns a session cache that shortens TLS handshakes.
func newSessions() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(0) }

func clientTLS(host, protocol string, sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{ServerName: host, NextProtos: []string{protocol}, ClientSessionCache: sessions,
		InsecureSkipVerify: true}
}

// h1 is plaintext HTTP/1.
type h1 struct{ address string }

func (h1) String() string { return "h1" }

func (w h1) exchange(r wireRequest, responses int) []wireResponse {
	conn, err := dialH1(w.address)
	if err != nil {
		return []wireResponse{{err: err}}
	}
	defer conn.close()
	text := r.raw
	if text == "" {
		text = r.h1()
	}
	// The server may respond and close the connection before it has read the whole request.
	go func() { _, _ = conn.Write([]byte(text)) }()
	method, _, _ := strings.Cut(text, " ")
	var got []wireResponse
	for len(got) < responses {
		response := conn.readResponse(method)
		got = append(got, response)
		if response.err != nil || response.closed || response.status == http.StatusSwitchingProtocols {
			break
		}
	}
	return got
}

// h1 returns the request's bytes in HTTP/1.
func (r wireRequest) h1() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.method, r.target)
	if !r.hasHeader("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", r.host)
	}
	for _, line := range r.header {
		b.WriteString(line + "\r\n")
	}
	chunked := r.chunked || len(r.trailer) > 0
	switch {
	case chunked && !r.hasHeader("Transfer-Encoding"):
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case !chunked && r.body != "" && !r.hasHeader("Content-Length") && !r.hasHeader("Transfer-Encoding"):
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	switch {
	case r.unfinished:
	case chunked:
		if r.body != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(r.body), r.body)
		}
		b.WriteString("0\r\n")
		for _, line := range r.trailer {
			b.WriteString(line + "\r\n")
		}
		b.WriteString("\r\n")
	default:
		b.WriteString(r.body)
	}
	return b.String()
}

// h1Conn is an HTTP/1 connection on which the test writes the bytes itself.
type h1Conn struct {
	net.Conn
	r *bufio.Reader
}

func dialH1(address string) (*h1Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	return &h1Conn{conn, bufio.NewReader(conn)}, nil
}

func (c *h1Conn) close() { _ = c.Close() }

// readResponse reads the next response, including preceding interim ones.
func (c *h1Conn) readResponse(method string) wireResponse {
	var interim []wireResponse
	for {
		response, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return wireResponse{err: err, interim: interim}
		}
		result := wireResponse{status: response.StatusCode, header: response.Header, interim: interim}
		if result.status == http.StatusSwitchingProtocols {
			return result
		}
		var body strings.Builder
		_, result.err = bufio.NewReader(response.Body).WriteTo(&body)
		_ = response.Body.Close()
		result.body, result.trailer = body.String(), response.Trailer
		if result.status < 200 {
			interim = append(interim, result)
			continue
		}
		if response.Close && result.err == nil {
			result.header.Set("Connection", "close") // net/http removes this header
			// The server must close the connection soon.
			_ = c.SetReadDeadline(time.Now().Add(closeTimeout))
			_, err := c.r.ReadByte()
			result.closed = err != nil && !isTimeout(err)
		}
		return result
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
