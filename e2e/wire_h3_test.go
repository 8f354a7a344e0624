package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"
)

// h3 is HTTP/3.
type h3 struct {
	address  string
	sessions tls.ClientSessionCache
}

func (h3) String() string { return "h3" }

// These are stream and frame types (RFC 9114 sections 6.2 and 7.2).
const (
	h3ControlStream = 0x0
	h3Data          = 0x0
	h3Headers       = 0x1
	h3Settings      = 0x4
)

func (w h3) exchange(r wireRequest, _ int) []wireResponse {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
	defer cancel()
	conn, err := quic.DialAddr(ctx, w.address, clientTLS(r.host, "h3", w.sessions), &quic.Config{})
	if err != nil {
		return []wireResponse{{err: err}}
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	return []wireResponse{h3Exchange(ctx, conn, r)}
}

// h3Exchange sends a request on a new connection and reads the response.
func h3Exchange(ctx context.Context, conn *quic.Conn, r wireRequest) (response wireResponse) {
	if err := h3Open(ctx, conn); err != nil {
		return wireResponse{err: err}
	}
	stream, err := h3Send(ctx, conn, r)
	if err != nil {
		return wireResponse{err: err}
	}
	response.readH3(stream)
	return response
}

// h3Open sends the data that a client must send before its first request.
func h3Open(ctx context.Context, conn *quic.Conn) error {
	control, err := conn.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	_, err = control.Write(h3Frame(quicvarint.Append(nil, h3ControlStream), h3Settings, nil))
	return err
}

// h3Send sends a request and returns its stream.
func h3Send(ctx context.Context, conn *quic.Conn, r wireRequest) (*quic.Stream, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.SetDeadline(time.Now().Add(exchangeTimeout))
	// The server may respond and stop reading early.
	_, _ = stream.Write(r.h3())
	if !r.unfinished {
		_ = stream.Close()
	}
	return stream, nil
}

// h3 returns the bytes that make up the request on its HTTP/3 stream.
func (r wireRequest) h3() []byte {
	b := h3Frame(nil, h3Headers, h3Fields(r.fields("https")))
	if r.unfinished {
		return b
	}
	if r.body != "" {
		b = h3Frame(b, h3Data, []byte(r.body))
	}
	if len(r.trailer) > 0 {
		b = h3Frame(b, h3Headers, h3Fields(r.split(r.trailer)))
	}
	return b
}

func h3Frame(b []byte, kind uint64, payload []byte) []byte {
	b = quicvarint.Append(b, kind)
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

func h3Fields(fields [][2]string) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, field := range fields {
		_ = encoder.WriteField(qpack.HeaderField{Name: field[0], Value: field[1]}) // writing to a buffer never fails
	}
	return block.Bytes()
}

// readH3 reads the frames of a stream until it ends.
func (a *wireResponse) readH3(stream io.Reader) {
	r := quicvarint.NewReader(stream)
	for {
		kind, err := quicvarint.Read(r)
		if err != nil {
			if !errors.Is(err, io.EOF) || a.status == 0 {
				a.err = fmt.Errorf("the stream ended: %w", err)
			}
			return
		}
		length, err := quicvarint.Read(r)
		if err != nil {
			a.err = err
			return
		}
		payload := make([]byte, length)
		if _, a.err = io.ReadFull(r, payload); a.err != nil {
			return
		}
		switch kind {
		case h3Headers:
			a.takeFields(decodeH3(payload))
		case h3Data:
			a.body += string(payload)
		}
	}
}

func decodeH3(block []byte) (status string, fields []hpack.HeaderField) {
	next := qpack.NewDecoder().Decode(block)
	for {
		field, err := next()
		if err != nil {
			return status, fields
		}
		if field.Name == ":status" {
			status = field.Value
			continue
		}
		fields = append(fields, hpack.HeaderField{Name: field.Name, Value: field.Value})
	}
}

var (
	_ wire = h1{}
	_ wire = h2{}
	_ wire = h3{}
)
