package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// TestBodyBuffer reads bodies of every length close to the sizes at which the buffer grows.
func TestBodyBuffer(t *testing.T) {
	t.Parallel()
	const limit = 3000
	for length := range 3100 {
		body := strings.Repeat("x", length)
		for _, declared := range []int64{-1, int64(length), int64(length) + 1} {
			for name, r := range map[string]io.Reader{"whole": strings.NewReader(body),
				"EOF with data": iotest.DataErrReader(strings.NewReader(body)),
				"in halves":     iotest.HalfReader(strings.NewReader(body))} {
				b := bodyBuffer{budget: -1}
				err := b.readFrom(r, limit, declared)
				switch {
				case length > limit:
					if !errors.Is(err, errBodyTooLarge) {
						t.Fatalf("%d bytes, declared %d, %s: got error %v, want %v", length, declared, name, err,
							errBodyTooLarge)
					}
				case declared > int64(length):
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("%d bytes, declared %d, %s: got error %v, want %v", length, declared, name, err,
							io.ErrUnexpectedEOF)
					}
				case err != nil || string(b.bytes) != body:
					t.Fatalf("%d bytes, declared %d, %s: read %d bytes, error %v", length, declared, name,
						len(b.bytes), err)
				}
				if cap(b.bytes) > max(firstBuffer, 2*length) || int64(cap(b.bytes)) != b.taken {
					t.Fatalf("%d bytes, declared %d, %s: allocated %d bytes, reserved %d", length, declared, name,
						cap(b.bytes), b.taken)
				}
				b.release()
			}
		}
	}
}

func TestBodyRefusal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"too large": {errBodyTooLarge, "413 body_too_large"},
		"outer limit": {caddyhttp.Error(http.StatusRequestEntityTooLarge, &http.MaxBytesError{Limit: 1}),
			"413 body_too_large"},
		"outer limit, bare": {&http.MaxBytesError{Limit: 1}, "413 body_too_large"},
		"outer limit with status": {caddyhttp.Error(http.StatusInsufficientStorage, &http.MaxBytesError{Limit: 1}),
			"507 body_too_large"},
		"outer handler": {caddyhttp.Error(http.StatusUnprocessableEntity, errors.New("x")),
			"422 invalid_request"},
		"outer time limit": {caddyhttp.Error(http.StatusGatewayTimeout, os.ErrDeadlineExceeded),
			"504 body_timeout"},
		"no status":  {caddyhttp.Error(0, errors.New("x")), "400 invalid_request"},
		"time limit": {fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), "408 body_timeout"},
		"memory":     {errBuffersFull, "503 overloaded"},
		"truncated":  {io.ErrUnexpectedEOF, "400 invalid_request"},
	} {
		refusal := bodyRefusal(tt.err, &gate.Finding{})
		if got := fmt.Sprintf("%d %s", refusal.Status, refusal.Code); got != tt.want || refusal.Err == nil {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}
