package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests check that the gate limits the resources a client can tie up: memory, time and
// backend connections.

// TestBodyTimeout sends bodies too slowly, and sends complete bodies to a backend that
// responds slowly.
func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	config := strings.ReplaceAll(testbedConfig(), "max_body 1KiB", "max_body 1KiB\nbody_timeout 300ms")
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(600 * time.Millisecond):
			_, _ = io.WriteString(w, "late and whole")
		case <-r.Context().Done():
		}
	}
	a := startTestbed(t, config, map[string]http.HandlerFunc{"slow": slow})
	for protocol, client := range a.clients(t) {
		t.Run(protocol, func(t *testing.T) {
			a.plain.forget()
			token := a.mint(map[string]any{"scopes": []string{"plain:write"}})
			for range 2 {
				request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write", token,
					"never whole")
				if response := <-request.response; response.String() != "408 body_timeout" {
					t.Errorf("got %v", response)
				}
			}
			if seen := a.plain.requests(); len(seen) != 0 {
				t.Errorf("the backend saw %d requests", len(seen))
			}
			if allowed, denied := a.usage(token); allowed != 0 || denied != 2 {
				t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
			}
			// The timeout must end with the body and not affect later requests on the
			// connection.
			for range 2 {
				request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write?answer=slow",
					token, "whole")
				_ = request.body.Close()
				if response := <-request.response; response.String() != "200" {
					t.Errorf("got %v", response)
				}
			}
		})
	}
}

// TestBodyTimeoutOfDrips sends a body one byte at a time, which keeps restarting Caddy's own
// timeout.
func TestBodyTimeoutOfDrips(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, strings.ReplaceAll(testbedConfig(), "max_body 1KiB", "max_body 1KiB\nbody_timeout 500ms"), nil)
	for protocol, client := range a.clients(t) {
		t.Run(protocol, func(t *testing.T) {
			request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write", a.tokens["$C"], "x")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					_, _ = io.WriteString(request.body, "x")
					time.Sleep(20 * time.Millisecond)
				}
			}()
			select {
			case response := <-request.response:
				if response.String() != "408 body_timeout" {
					t.Errorf("got %v", response)
				}
			case <-time.After(10 * time.Second):
				t.Error("the gate didn't end the request")
			}
		})
	}
}

// TestMaxBuffered makes the gate hold as many bodies as fit in its buffer, then sends one
// more.
func TestMaxBuffered(t *testing.T) {
	t.Parallel()
	config := strings.ReplaceAll(testbedConfig(), "max_body 1KiB", "max_body 200KiB\nmax_buffered 250KiB")
	a := startTestbed(t, config, nil)
	client := a.clients(t)["h2c"]
	part := strings.Repeat("x", 150<<10)
	begin := func() (*slowRequest, string) {
		token := a.limited("plain:write")
		request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write", token, part)
		_, _ = io.WriteString(request.body, "y") // ensures that the gate has read the whole part
		a.waitUntilDecided(token, "/plain/write")
		return request, token
	}
	held, _ := begin()
	second, token := begin()
	if response := <-second.response; response.String() != "503 overloaded" {
		t.Errorf("the excess request got %v", response)
	}
	if allowed, denied := a.usage(token); allowed != 0 || denied != 1 {
		t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
	}
	_ = held.body.Close()
	if response := <-held.response; response.String() != "200" {
		t.Errorf("the held request got %v", response)
	}
	// The gate must release the memory, regardless of the outcome.
	for i := range 20 {
		request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write", a.tokens["$C"], part)
		if i%2 == 0 {
			_, _ = io.WriteString(request.body, part+part)
		}
		_ = request.body.Close()
		want := "200"
		if i%2 == 0 {
			want = "413 body_too_large"
		}
		if response := <-request.response; response.String() != want {
			t.Fatalf("request %d got %v, want %s", i, response, want)
		}
	}
	held, _ = begin()
	status, header, _ := curl(t, append(bearer(a.tokens["$C"]), "-H", "Host: "+gatedHost, "--data-binary",
		"@"+a.write("part", part), "http://127.0.0.1:"+a.env["HTTP"]+"/plain/write")...)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("got status %d and Retry-After %q", status, header.Get("Retry-After"))
	}
	_ = held.body.Close()
	<-held.response
}

// TestAnnouncedBodies announces a thousand bodies totaling a gigabyte and sends none of them.
func TestAnnouncedBodies(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, strings.ReplaceAll(testbedConfig(), "max_body 1KiB", "max_body 1MiB"), nil)
	before, _ := a.live()
	const connections, streams = 4, 240
	for range connections {
		conn, err := h2{address: "127.0.0.1:" + a.env["HTTP"]}.dial(gatedHost)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.close()
		for i := range uint32(streams) {
			if err := conn.send(2*i+1, wireRequest{host: gatedHost, method: "POST", target: "/plain/write",
				header: by(a.tokens["$C"], "Content-Length: 1048576"), unfinished: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	goroutines := 0
	a.eventually("the gate holds the requests",
		func() bool { goroutines = a.goroutines(); return goroutines >= connections*streams })
	heap, _ := a.live()
	if grown := heap - before; grown > 64<<20 {
		t.Errorf("%d announced bodies take up %d MiB", connections*streams, grown>>20)
	} else {
		t.Logf("%d announced bodies take up %d KiB each", connections*streams, grown>>10/(connections*streams))
	}
}

// TestDetachedRequests abandons many requests that change something. A limited number per
// token may finish; the gate must cancel the others at the backend as well.
func TestDetachedRequests(t *testing.T) {
	t.Parallel()
	const requests, limit = 6, 2
	var mu sync.Mutex
	begun, ended, finished := 0, 0, 0
	finish := make(chan struct{})
	wait := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		begun++
		mu.Unlock()
		select {
		case <-r.Context().Done():
			mu.Lock()
			ended++
			mu.Unlock()
		case <-finish:
			mu.Lock()
			finished++
			mu.Unlock()
			_, _ = io.WriteString(w, "done")
		}
	}
	count := func(n *int) int {
		mu.Lock()
		defer mu.Unlock()
		return *n
	}
	config := strings.ReplaceAll(testbedConfig(), "max_body 1KiB",
		fmt.Sprintf("max_body 1KiB\ndetached_requests %d", limit))
	a := startTestbed(t, config, map[string]http.HandlerFunc{"wait": wait})
	for protocol, client := range a.clients(t) {
		t.Run(protocol, func(t *testing.T) {
			mu.Lock()
			begun, ended, finished = 0, 0, 0
			mu.Unlock()
			finish = make(chan struct{})
			leave := func(token string) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				before := count(&begun)
				var open []*slowRequest
				for range requests {
					request := send(ctx, t, client.Client, gatedHost, client.origin+"/plain/write?answer=wait", token,
						"whole")
					_ = request.body.Close()
					open = append(open, request)
				}
				a.eventually("the backend has all requests", func() bool { return count(&begun) == before+requests })
				cancel()
				for _, request := range open {
					if response := <-request.response; response.err == nil {
						t.Errorf("got %v", response)
					}
				}
			}
			token := a.mint(map[string]any{"scopes": []string{"plain:write"}})
			leave(token)
			a.eventually("the others have ended", func() bool { return count(&ended) == requests-limit })
			// Each token has its own limit.
			leave(a.mint(map[string]any{"scopes": []string{"plain:write"}}))
			a.eventually("the others have ended", func() bool { return count(&ended) == 2*(requests-limit) })
			close(finish)
			a.eventually("the detached requests have finished", func() bool { return count(&finished) == 2*limit })
			// Finished requests must free their slots.
			finish = make(chan struct{})
			a.eventually("the requests have ended", func() bool {
				return strings.Count(a.output.String(), `"user_id":"`+tokenID(token)+`"`) == requests
			})
			leave(token)
			a.eventually("the others have ended again", func() bool { return count(&ended) == 3*(requests-limit) })
			close(finish)
			a.eventually("the detached requests have finished again",
				func() bool { return count(&finished) == 3*limit })
		})
	}
}

// TestOuterBodyLimit checks that when a handler before the gate limits the body, the client
// gets that handler's status.
func TestOuterBodyLimit(t *testing.T) {
	t.Parallel()
	backend := newGoBackend(t, nil)
	c := startCaddy(t, globals+"http://127.0.0.1:{$HTTP} {\nrequest_body {\nmax_size 10KB\n}\n"+
		gateBlock("route POST /x plain:write\nroute POST /up plain:upload {\nupload\n}")+"reverse_proxy "+
		backend.addr()+"\n}",
		map[string]string{"UPSTREAM": "backend-token"})
	token := c.mint(map[string]any{"scopes": []string{"plain:write", "plain:upload"}})
	file := c.write("large", strings.Repeat("x", 20_000))
	for _, path := range []string{"/x", "/up"} {
		for _, how := range []string{"chunked", "declared"} {
			args := append(bearer(token), "-H", "Expect:", "--data-binary", "@"+file, c.url(path))
			if how == "chunked" {
				args = append(args, "-H", "Transfer-Encoding: chunked")
			}
			if status, _, body := curl(t, args...); status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s, %s: got status %d: %s", path, how, status, body)
			}
		}
	}
	if whole := strings.Count(fmt.Sprint(backend.requests()), "broken:false"); whole > 0 {
		t.Errorf("the backend got %d complete requests", whole)
	}
}
