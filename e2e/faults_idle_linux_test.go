package e2e

import (
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// needFiles raises the limit on open files and sockets to a little over n, for this process
// and for Caddy processes that it starts later. It skips the test if it isn't permitted to.
func (f *fault) needFiles(n int) {
	f.Helper()
	filesLimit.Lock()
	defer filesLimit.Unlock()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		f.Fatal(err)
	}
	want := uint64(n + 2000) // leaves room for tests that run at the same time
	if limit.Cur >= want && limit.Max >= want {
		return
	}
	limit.Cur, limit.Max = max(limit.Cur, want), max(limit.Max, want)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		f.Skipf("can't raise the limit to %d open files: %v", want, err)
	}
}

var filesLimit sync.Mutex

// inParallel calls do for each number from 0 to n-1, several at a time.
func inParallel(n int, do func(i int)) {
	const workers = 64
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	all.Wait()
}

// faultIdle opens many connections and leaves them idle: before the first byte, in the middle
// of a request head, and after a response. Other requests and a revocation must still succeed,
// and the revocation must take effect on idle connections, too.
func faultIdle(f *fault) {
	idle := f.size(1000, 10_000)
	f.needFiles(idle)
	c := newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)
	good, revoked := c.token("--scope", "test:allowed"), c.token("--scope", "test:allowed")
	request := func(token string) string {
		return "GET /allowed HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearerLine(token) + "\r\n\r\n"
	}
	files := c.openFiles()
	useFor(c, tokens, 200*time.Millisecond)
	c.eventually("the clients' connections are closed", func() bool { return c.openFiles() <= files })
	goroutines := c.goroutines()
	heap, resident := c.live()

	conns := make([]*h1Conn, idle)
	begun := time.Now()
	inParallel(idle, func(i int) {
		conn, err := dialH1("127.0.0.1:" + c.env["HTTP"])
		if err != nil {
			f.Error(err)
			return
		}
		conns[i] = conn
		_ = conn.SetDeadline(time.Time{})
		said := [...]string{"", "GET /allowed HTTP/1.1\r\nHost:", request(good), request(revoked)}[i%4]
		if _, err := io.WriteString(conn, said); err != nil {
			f.Error(err)
		}
		if i%4 >= 2 {
			if response := conn.readResponse(http.MethodGet); response.status != http.StatusOK {
				f.Errorf("connection %d: got response %+v", i, response)
			}
		}
	})
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.close()
			}
		}
	}()
	if f.Failed() {
		return
	}
	c.eventually("all connections are accepted", func() bool { return c.openFiles() >= idle })
	opened := time.Since(begun)
	heapNow, residentNow := c.live()

	stop := useMeanwhile(c, tokens, f.random.Uint64())
	answeredMore(c, tokens, 1000)
	begun = time.Now()
	c.call(http.MethodPost, "tokens/"+tokenID(revoked)+"/revoke", nil, http.StatusOK)
	revoking := time.Since(begun)
	answeredMore(c, tokens, 1000)
	stop()
	ask := func(i int, token string, want int) {
		f.Helper()
		_ = conns[i].SetDeadline(time.Now().Add(exchangeTimeout))
		if _, err := io.WriteString(conns[i], request(token)); err != nil {
			f.Errorf("connection %d: %v", i, err)
		} else if response := conns[i].readResponse(http.MethodGet); response.status != want {
			f.Errorf("connection %d: got response %+v, want status %d", i, response, want)
		}
	}
	inParallel(idle/4, func(i int) {
		ask(4*i, good, http.StatusOK) // the first request on the connection
		ask(4*i+2, good, http.StatusOK)
		ask(4*i+3, revoked, http.StatusUnauthorized)
	})
	f.Logf("%d connections opened in %v; each takes %d KiB of heap and %d KiB of memory; the revocation took %v",
		idle, opened, (heapNow-heap)>>10/int64(idle), (residentNow-resident)>>10/int64(idle), revoking)
	most := int64(idle)*64<<10 + 32<<20
	if raceFlag == "-race=true" {
		most *= 4
	}
	if grown := residentNow - resident; grown > most {
		f.Errorf("Caddy's memory grew by %d MiB", grown>>20)
	}
	checkUsage(c, tokens)
	for _, conn := range conns {
		conn.close()
	}
	c.leavesNothing(goroutines, files)
}
