package admin

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// sendPart is the size of one write, in bytes. Shorter responses are sent in one write
	// and never cut off.
	sendPart = 64 << 10
	// authInterval is how often send authorizes the caller. A response must be cut off
	// within a second of the caller's authorization ending.
	authInterval = 250 * time.Millisecond
)

var errUnauthorized = errors.New("the caller is no longer authorized")

// send writes a response body and returns the number of bytes written. It returns
// errUnauthorized soon after the caller's authorization ends, for example because the
// caller's token was revoked or its session was signed out. It does so even if the client
// reads slowly or not at all.
func (c *call) send(content io.Reader, length int64) (written int64, err error) {
	if length <= sendPart || c.actor.Authorize == nil {
		return io.Copy(c.w, content)
	}
	var ended atomic.Bool
	stop := c.watchAuthorization(&ended)
	defer stop()
	for {
		n, err := io.CopyN(c.w, content, sendPart)
		written += n
		switch {
		case ended.Load():
			return written, errUnauthorized
		case errors.Is(err, io.EOF):
			return written, nil
		case err != nil:
			return written, err
		}
	}
}

// watchAuthorization sets ended and cuts off the response when the caller is no longer
// authorized. After stop returns, the connection isn't touched again.
func (c *call) watchAuthorization(ended *atomic.Bool) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(authInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			if ended.Load() || c.actor.Authorize() != nil {
				ended.Store(true)
				cutOff(c.w) // on every tick, because Caddy sets its own deadlines
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// cutOff makes writes to the client fail, including a write in progress. The net/http
// writers allow this from another goroutine, but Caddy's wrappers don't, so cutOff unwraps
// them.
func cutOff(w http.ResponseWriter) {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // not supported by all writers
}
