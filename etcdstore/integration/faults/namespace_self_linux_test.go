package faults

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"
)

// TestCut checks that a cut drops packets in one direction only: the first node can send
// datagrams to the second, but gets no answer.
func TestCut(t *testing.T) {
	w := startNetwork(t)
	const ipA, ipB = "10.77.0.1", "10.77.0.2"
	a, err := w.join(ipA)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.join(ipB)
	if err != nil {
		t.Fatal(err)
	}
	var server net.PacketConn
	if err := b.do(func() (err error) {
		server, err = net.ListenPacket("udp4", ipB+":1000")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	received := make(chan byte, 1000)
	go func() {
		buffer := make([]byte, 1)
		for {
			_, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			received <- buffer[0]
			_, _ = server.WriteTo(buffer, from)
		}
	}()
	defer func() { _ = server.Close() }()
	conn, err := a.dial(t.Context(), "udp4", ipB+":1000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// exchange sends datagrams with the step's number until one has reached B, and until A has
	// received an answer. It doesn't wait long for what isn't wanted.
	exchange := func(step byte, wantReached, wantAnswered bool) (reached, answered bool) {
		t.Helper()
		patience := 300 * time.Millisecond
		for begun := time.Now(); ; {
			if _, err := conn.Write([]byte{step}); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			answer := make([]byte, 1)
			_, err := conn.Read(answer)
			answered = answered || err == nil && answer[0] == step
			for len(received) > 0 {
				reached = <-received == step || reached
			}
			if reached == wantReached && answered == wantAnswered || time.Since(begun) > time.Minute {
				return reached, answered
			}
		}
	}
	wallA, err := newFirewall(a)
	if err != nil {
		t.Fatal(err)
	}
	wallB, err := newFirewall(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		what              string
		atA, atB          []string
		reached, answered bool
	}{
		{"no cut", nil, nil, true, true},
		{"from B to A", []string{ipB}, nil, true, false},
		{"from A to B", nil, []string{ipA}, false, false},
		{"from another node", []string{"10.77.0.9"}, []string{"10.77.0.9"}, true, true},
		{"no cut again", nil, nil, true, true},
	} {
		if err := wallA.drop(step.atA...); err != nil {
			t.Fatal(err)
		}
		if err := wallB.drop(step.atB...); err != nil {
			t.Fatal(err)
		}
		reached, answered := exchange(byte(i), step.reached, step.answered)
		if reached != step.reached || answered != step.answered {
			t.Errorf("%s: reached %v, answered %v; want %v, %v", step.what, reached, answered, step.reached,
				step.answered)
		}
	}
}

// TestNetworksAreSeparate checks that two networks can use the same addresses.
func TestNetworksAreSeparate(t *testing.T) {
	for _, text := range []string{"one\n", "two\n"} {
		w := startNetwork(t)
		server, err := w.join("10.77.0.1")
		if err != nil {
			t.Fatal(err)
		}
		client, err := w.join("10.77.0.2")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := server.listen("10.77.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(text))
				_ = conn.Close()
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := client.dial(ctx, "tcp4", "10.77.0.1:80")
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != text {
			t.Errorf("got %q, %v; want %q", line, err, text)
		}
		_ = conn.Close()
	}
}
