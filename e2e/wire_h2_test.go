package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is HTTP/2, over TLS if sessions is set, and in plaintext with prior knowledge otherwise.
type h2 struct {
	address  string
	sessions tls.ClientSessionCache
}

func (w h2) String() string {
	if w.sessions != nil {
		return "h2"
	}
	return "h2c"
}

func (w h2) exchange(r wireRequest, _ int) []wireResponse {
	conn, err := w.dial(r.host)
	if err != nil {
		return []wireResponse{{err: err}}
	}
	defer conn.close()
	if err := conn.send(1, r); err != nil {
		return []wireResponse{{err: err}}
	}
	return []wireResponse{conn.readResponse(1)}
}

// h2Conn is an HTTP/2 connection on which the test writes the frames itself.
type h2Conn struct {
	net.Conn
	*http2.Framer
	scheme  string
	headers *hpack.Encoder
	block   bytes.Buffer
	// responses holds the responses that have begun, by stream ID.
	responses map[uint32]*h2Response
}

type h2Response struct {
	wireResponse
	ended bool
}

func (w h2) dial(host string) (*h2Conn, error) {
	var conn net.Conn
	var err error
	scheme := "http"
	if w.sessions != nil {
		scheme = "https"
		dialer := &net.Dialer{Timeout: exchangeTimeout}
		conn, err = tls.DialWithDialer(dialer, "tcp", w.address, clientTLS(host, "h2", w.sessions))
	} else {
		conn, err = net.Dial("tcp", w.address)
	}
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	c := &h2Conn{Conn: conn, Framer: http2.NewFramer(conn, conn), scheme: scheme,
		responses: make(map[uint32]*h2Response)}
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.headers = hpack.NewEncoder(&c.block)
	if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		err = c.WriteSettings()
	}
	return c, err
}

func (c *h2Conn) close() { _ = c.Close() }

// send sends a request on a stream.
func (c *h2Conn) send(stream uint32, r wireRequest) error {
	chunk := len(r.trailer) > 0 || r.chunked || r.body != "" || r.unfinished
	if err := c.writeFields(stream, r.fields(c.scheme), !chunk); err != nil || r.unfinished || !chunk {
		return err
	}
	for body := r.body; ; {
		piece := body[:min(len(body), maxFrame)]
		body = body[len(piece):]
		if err := c.WriteData(stream, body == "" && len(r.trailer) == 0, []byte(piece)); err != nil {
			return err
		}
		if body == "" {
			break
		}
	}
	if len(r.trailer) == 0 {
		return nil
	}
	return c.writeFields(stream, r.split(r.trailer), true)
}

// maxFrame is the largest frame size that every peer accepts by default (RFC 9113 section
// 4.2).
const maxFrame = 16384

func (c *h2Conn) writeFields(stream uint32, fields [][2]string, end bool) error {
	c.block.Reset()
	for _, field := range fields {
		if err := c.headers.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	piece := c.block.Next(maxFrame)
	err := c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: piece, EndStream: end, EndHeaders: c.block.Len() == 0,
	})
	for err == nil && c.block.Len() > 0 {
		piece = c.block.Next(maxFrame)
		err = c.WriteContinuation(stream, c.block.Len() == 0, piece)
	}
	return err
}

// readResponse reads frames until the stream has ended.
func (c *h2Conn) readResponse(stream uint32) wireResponse {
	for {
		if a := c.responses[stream]; a != nil && a.ended {
			return a.wireResponse
		}
		frame, err := c.ReadFrame()
		if err != nil {
			a := c.of(stream)
			a.err, a.closed = err, !isTimeout(err)
			return a.wireResponse
		}
		if lost, ok := frame.(*http2.GoAwayFrame); ok && lost.ErrCode != http2.ErrCodeNo {
			// The server keeps the connection open for a while but sends nothing more.
			a := c.of(stream)
			a.err, a.closed = fmt.Errorf("the connection was closed: %v", lost.ErrCode), true
			return a.wireResponse
		}
		c.take(frame)
	}
}

func (c *h2Conn) of(stream uint32) *h2Response {
	if c.responses[stream] == nil {
		c.responses[stream] = new(h2Response)
	}
	return c.responses[stream]
}

// take records a frame and acknowledges it if necessary.
func (c *h2Conn) take(frame http2.Frame) {
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			_ = c.WriteSettingsAck() // the next read reports a lost connection
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			_ = c.WritePing(true, frame.Data)
		}
	case *http2.MetaHeadersFrame:
		a := c.of(frame.StreamID)
		a.takeFields(frame.PseudoValue("status"), frame.RegularFields())
		a.ended = frame.StreamEnded()
	case *http2.DataFrame:
		a := c.of(frame.StreamID)
		a.body += string(frame.Data())
		a.ended = frame.StreamEnded()
	case *http2.RSTStreamFrame:
		if a := c.of(frame.StreamID); !a.ended {
			a.ended, a.err = true, fmt.Errorf("the stream was reset: %v", frame.ErrCode)
		}
	}
}

// takeFields records a block of header fields, which belong to an interim response, the final
// response, or its trailers.
func (a *wireResponse) takeFields(status string, fields []hpack.HeaderField) {
	header := make(http.Header)
	for _, field := range fields {
		header.Add(field.Name, field.Value)
	}
	code, _ := strconv.Atoi(status)
	switch {
	case status == "":
		a.trailer = header
	case code < 200:
		a.interim = append(a.interim, wireResponse{status: code, header: header})
	default:
		a.status, a.header = code, header
	}
}
