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

// The clients here write every byte themselves, because the libraries refuse to
// send what an attacker would.

// wireRequest is a request as it stands in a table. It means the same over every
// protocol that can express it.
type wireRequest struct {
	host           string
	method, target string
	// header is lines "Name: value", in order. Over HTTP/2 and HTTP/3 names are sent
	// in lower case.
	header  []string
	body    string
	trailer []string
	// chunked sends a body of undeclared length.
	chunked bool
	// unfinished leaves out the body and everything after it.
	unfinished bool
	// pseudo replaces the pseudo header fields of HTTP/2 and HTTP/3, which HTTP/1
	// has not: lines ":name value". "-" is none at all.
	pseudo []string
	// asWritten leaves the letter case of names alone.
	asWritten bool
	// raw is the bytes of one or more HTTP/1 requests, instead of all the above but
	// the host.
	raw string
}

// expand replaces the names of tokens in all parts of the request.
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

// hasHeader says whether the request has a header line of this name of its own.
func (r wireRequest) hasHeader(name string) bool {
	return slices.ContainsFunc(r.header, func(line string) bool {
		got, _, _ := strings.Cut(line, ":")
		return strings.EqualFold(got, name)
	})
}

// announces says whether the server has to expect a body.
func (r wireRequest) announces() bool {
	return r.body != "" || r.chunked || len(r.trailer) > 0 || r.hasHeader("Content-Length") ||
		r.hasHeader("Transfer-Encoding")
}

// fields returns the header fields of HTTP/2 and HTTP/3.
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

// wireAnswer is an answer, or why there was none.
type wireAnswer struct {
	// status is 0 if the connection or the stream ended without an answer.
	status  int
	header  http.Header
	body    string
	trailer http.Header
	// interim are the answers with a status of 1xx before it.
	interim []wireAnswer
	// closed says that the server closed the connection after it.
	closed bool
	// err is why the answer isn't whole.
	err error
}

// text returns all that the client has been told.
func (a wireAnswer) text() string {
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

// wirePatience is how long an exchange may take before it counts as one without
// an answer.
const wirePatience = 20 * time.Second

// closingPatience is how long a server may take to close a connection after it
// has said that it will.
const closingPatience = 5 * time.Second

// wire is a protocol to reach a Caddy over. Each exchange has a connection of its
// own.
type wire interface {
	// String is the name that test tables use.
	String() string
	// exchange sends a request and returns this many answers, of which only HTTP/1
	// can have more than one.
	exchange(r wireRequest, answers int) []wireAnswer
}

// wires returns the protocols that a Caddy speaks on its ports.
func (c *caddy) wires() []wire {
	plain, secure := "127.0.0.1:"+c.env["HTTP"], "127.0.0.1:"+c.env["HTTPS"]
	return []wire{h1{plain}, h2{secure, newSessions()}, h2{plain, nil}, h3{secure, newSessions()}}
}

// newSessions makes TLS handshakes short.
func newSessions() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(0) }

func clientTLS(host, protocol string, sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{ServerName: host, NextProtos: []string{protocol}, ClientSessionCache: sessions,
		InsecureSkipVerify: true}
}

// h1 is HTTP/1 without TLS.
type h1 struct{ address string }

func (h1) String() string { return "h1" }

func (w h1) exchange(r wireRequest, answers int) []wireAnswer {
	conn, err := dialH1(w.address)
	if err != nil {
		return []wireAnswer{{err: err}}
	}
	defer conn.close()
	text := r.raw
	if text == "" {
		text = r.h1()
	}
	// The server may answer and close before it has read everything.
	go func() { _, _ = conn.Write([]byte(text)) }()
	method, _, _ := strings.Cut(text, " ")
	var got []wireAnswer
	for len(got) < answers {
		answer := conn.answer(method)
		got = append(got, answer)
		if answer.err != nil || answer.closed || answer.status == http.StatusSwitchingProtocols {
			break
		}
	}
	return got
}

// h1 returns the request's bytes.
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

// h1Conn is a connection whose bytes are the test's.
type h1Conn struct {
	net.Conn
	r *bufio.Reader
}

func dialH1(address string) (*h1Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(wirePatience))
	return &h1Conn{conn, bufio.NewReader(conn)}, nil
}

func (c *h1Conn) close() { _ = c.Close() }

// answer reads the next answer with those before it that are interim.
func (c *h1Conn) answer(method string) wireAnswer {
	var interim []wireAnswer
	for {
		response, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return wireAnswer{err: err, interim: interim}
		}
		answer := wireAnswer{status: response.StatusCode, header: response.Header, interim: interim}
		if answer.status == http.StatusSwitchingProtocols {
			return answer
		}
		var body strings.Builder
		_, answer.err = bufio.NewReader(response.Body).WriteTo(&body)
		_ = response.Body.Close()
		answer.body, answer.trailer = body.String(), response.Trailer
		if answer.status < 200 {
			interim = append(interim, answer)
			continue
		}
		if response.Close && answer.err == nil {
			answer.header.Set("Connection", "close") // which net/http takes out
			// What the server says it does, it shall do, and soon.
			_ = c.SetReadDeadline(time.Now().Add(closingPatience))
			_, err := c.r.ReadByte()
			answer.closed = err != nil && !isTimeout(err)
		}
		return answer
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
