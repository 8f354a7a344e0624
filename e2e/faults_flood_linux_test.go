package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// faultFlood presents a million unknown tokens per minute, each from a different address, so
// that Caddy looks all of them up in the store. Caddy's memory must stay bounded, and valid
// tokens must keep working. TestFloodOfGuesses tests guesses from a single address.
func faultFlood(f *fault) {
	const (
		rate = 1_000_000 / 60
		// The gate tracks failures for at most 262,144 addresses.
		mostHeap, mostResident = 64 << 20, 192 << 20
	)
	seconds := f.size(5, 60)
	if raceFlag == "-race=true" {
		seconds = 2 // the race detector makes the flood much slower
	}
	c := newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)[:4]
	request := func(i int) string {
		return fmt.Sprintf("GET /allowed HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 10.%d.%d.%d\r\n%s\r\n\r\n",
			i>>16&255, i>>8&255, i&255, bearerLine(guess("mmk", i)))
	}
	c.flood(f.T, 1000, request)
	heap, resident := c.live()
	mark := c.logMark()

	ended, done := make(chan struct{}), make(chan struct{})
	var slowest atomic.Int64
	seed := f.random.Uint64()
	go func() {
		defer close(done)
		random := rand.New(rand.NewPCG(seed, 1))
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			begun := time.Now()
			if err := tokens[i%len(tokens)].use(c, http.DefaultTransport, random); err != nil {
				f.Error(err)
				return
			}
			slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
		}
	}()
	statuses := make(map[int]int)
	sent := 0
	begun := time.Now()
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for range seconds * 10 {
		begin := 1000 + sent
		for status, n := range c.flood(f.T, rate/10, func(i int) string { return request(begin + i) }) {
			statuses[status] += n
		}
		sent += rate / 10
		if f.Failed() {
			break
		}
		<-tick.C // a flood that falls behind runs as fast as it can
	}
	took := time.Since(begun)
	close(ended)
	<-done
	heapNow, residentNow := c.live()
	var calls uint64
	for _, n := range tokens {
		calls += n.now.answered
	}
	f.Logf("%d unknown tokens in %v: %v. The heap was %d MiB, now %d MiB; resident memory was %d MiB, now %d MiB. "+
		"%d valid calls; the slowest took %v",
		sent, took.Round(time.Millisecond), statuses, heap>>20, heapNow>>20, resident>>20, residentNow>>20, calls,
		time.Duration(slowest.Load()))
	if statuses[http.StatusUnauthorized] != sent {
		f.Errorf("got statuses %v, want 401 %d times", statuses, sent)
	}
	if heapNow > heap+mostHeap {
		f.Errorf("the heap grew by %d MiB", (heapNow-heap)>>20)
	}
	if residentNow > resident+mostResident {
		f.Errorf("Caddy's memory grew by %d MiB", (residentNow-resident)>>20)
	}
	if calls == 0 {
		f.Error("no client made a valid call")
	}
	if logged := c.logSince(mark); len(logged) > 10<<10 {
		f.Errorf("Caddy logged %d bytes: %s", len(logged), logged[:2000])
	}
	checkUsage(c, tokens)
}
