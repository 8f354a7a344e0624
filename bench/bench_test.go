package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary run as any of the separate processes that bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestChoose(t *testing.T) {
	for prefix, want := range map[string]string{
		"proxy/basic":    "proxy/control, proxy/basic_auth",
		"respond over":   "respond over TLS/control, respond over TLS/gate, 10k tokens",
		"respond/header": "respond/control, respond/header matcher",
		"nothing":        "",
	} {
		var names []string
		for _, r := range choose(rows(1_000_000), prefix) {
			names = append(names, r.name)
		}
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("choose(%q) = %s, want %s", prefix, got, want)
		}
	}
}

// TestJudge checks that judge gives no verdict if there are too few slices or the control
// deviates.
func TestJudge(t *testing.T) {
	const goal = "respond/gate, 10k tokens: CPU time per request is at most 1.08 times the time without the gate"
	for _, tt := range []struct {
		control, gate float64
		slices        int
		want          string
	}{
		{1, 1.07, 21, reached},
		{0.98, 1.08, 31, reached},
		{1.02, 1.09, 21, notReached},
		{1.03, 1.03, 21, noVerdict + ": control ratio is 1.030"},
		{0.97, 1.03, 21, noVerdict + ": control ratio is 0.970"},
		{1, 1.03, 20, noVerdict + ": only 20 slices"},
	} {
		r := Report{Slices: tt.slices, Pairs: []Pair{
			{Name: "respond/control", Control: true, Ratio: Spread{Median: tt.control}},
			{Name: "respond/gate, 10k tokens", Ratio: Spread{Median: tt.gate}},
		}}
		r.judge()
		if len(r.Verdicts) != 1 || r.Verdicts[0].Goal != goal || r.Verdicts[0].Verdict != tt.want {
			t.Errorf("case %+v: got verdicts %+v", tt, r.Verdicts)
		}
	}
}

func TestSpread(t *testing.T) {
	if got, want := spread([]float64{4, 1, 3, 2, 5}),
		(Spread{Median: 3, Low: 2, High: 4, Min: 1, Max: 5}); got != want {
		t.Errorf("got spread %+v, want %+v", got, want)
	}
	if got := median([]float64{1, 2}); got != 1.5 {
		t.Errorf("got median %v, want 1.5", got)
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of no values: got %v, want NaN", got)
	}
}

// TestReadResponse checks that readResponse reads exactly one response.
func TestReadResponse(t *testing.T) {
	for name, response := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
		"none":   "HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	} {
		c := &connection{
			reader: bufio.NewReader(
				strings.NewReader(response + "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"))}
		for _, want := range []int{200, 401} {
			if status, err := c.readResponse(); err != nil || status != want {
				t.Errorf("%s: got status %d, err %v", name, status, err)
			}
		}
	}
	for _, broken := range []string{"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"} {
		c := &connection{reader: bufio.NewReader(strings.NewReader(broken))}
		if status, err := c.readResponse(); err == nil {
			t.Errorf("%q: got status %d, want an error", broken, status)
		}
	}
}

// TestLoadChecksStatus checks that load fails on a response with an unexpected status.
func TestLoadChecksStatus(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				requests := bufio.NewReader(conn)
				for {
					if line, err := requests.ReadString('\n'); err != nil {
						return
					} else if line == "\r\n" {
						_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
					}
				}
			}()
		}
	}()
	for _, good := range []bool{true, false} {
		l := &load{server: &server{address: listener.Addr().String()},
			requests: [][]byte{fmt.Append(nil, "GET / HTTP/1.1\r\n\r\n")}, good: []bool{good}}
		if err := l.dial(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		v, err := l.run(20 * time.Millisecond)
		l.close()
		if (err != nil) != good || !good && (v.requests == 0 || v.quantile(0.5) <= 0) {
			t.Errorf("good %v: got %d requests, err %v", good, v.requests, err)
		}
	}
}
