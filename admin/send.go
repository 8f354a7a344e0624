package admin

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// sendPart is the most bytes of an answer that are written at a time. A shorter answer
	// is sent with one write and not cut off.
	sendPart = 64 << 10
	// rightInterval is how often the gate checks, while it sends an answer, that the caller
	// may still call. An answer must end within a second after that has changed.
	rightInterval = 250 * time.Millisecond
)

var errRightEnded = errors.New("the caller may no longer call")

// send writes the body of an answer and returns how many bytes it has written. It stops
// with errRightEnded soon after the caller may no longer call, such as when its token was
// revoked or its session signed out. It does so also if the client reads slowly or not at
// all.
func (c *call) send(content io.Reader, length int64) (written int64, err error) {
	if length <= sendPart || c.actor.Authorize == nil {
		return io.Copy(c.w, content)
	}
	var ended atomic.Bool
	stop := c.watchRight(&ended)
	defer stop()
	for {
		n, err := io.CopyN(c.w, content, sendPart)
		written += n
		switch {
		case ended.Load():
			return written, errRightEnded
		case errors.Is(err, io.EOF):
			return written, nil
		case err != nil:
			return written, err
		}
	}
}

// watchRight sets ended, and cuts off the answer, when the caller may no longer call.
// Nothing touches the connection after stop has returned.
func (c *call) watchRight(ended *atomic.Bool) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(rightInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			if ended.Load() || c.actor.Authorize() != nil {
				ended.Store(true)
				cutOff(c.w) // again and again: Caddy sets deadlines of its own
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// cutOff makes writes to the client fail, also one that is under way. net/http's own
// writers allow this from another goroutine; those that Caddy wraps around them don't,
// so it goes past them.
func cutOff(w http.ResponseWriter) {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // not all writers can
}
