package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// A client that sends its body slowly must not be able to choose the body's content after its
// token has ended and still have the request take effect (CWE-367).

// withdrawals are the ways in which a token can lose access, each with the refusal that the
// request then receives.
var withdrawals = map[string]struct {
	method, path string
	body         any
	status       int // the response status of the change
	want         string
}{
	"deleted":  {method: http.MethodDelete, status: http.StatusNoContent, want: "401 unknown_token"},
	"revoked":  {method: http.MethodPost, path: "/revoke", status: http.StatusOK, want: "401 revoked_token"},
	"disabled": {method: http.MethodPost, path: "/disable", status: http.StatusOK, want: "401 disabled_token"},
	"rotated": {method: http.MethodPost, path: "/rotate", body: map[string]any{"grace": "0s"}, status: http.StatusOK,
		want: "401 unknown_token"},
	"expired": {method: http.MethodPatch, body: map[string]any{"expires_in": 1}, status: http.StatusOK,
		want: "401 expired_token"},
	"narrowed": {method: http.MethodPatch, body: map[string]any{"scopes": []string{"plain:read"}},
		status: http.StatusOK, want: "403 insufficient_scope"},
	"bound": {method: http.MethodPatch, body: map[string]any{"allowed_ips": []string{"192.0.2.0/24"}},
		status: http.StatusOK, want: "403 ip_denied"},
	"moved": {method: http.MethodPatch, body: map[string]any{"account": "bare"}, status: http.StatusOK, want: ""},
}

// withdraw takes away a token's access and waits until the change has taken effect.
func (c *caddy) withdraw(token, way string) {
	c.t.Helper()
	lost := withdrawals[way]
	c.call(lost.method, "tokens/"+tokenID(token)+lost.path, lost.body, lost.status)
	if way == "expired" {
		c.eventually("the token has expired", func() bool {
			return strings.Contains(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(token)), `"status":"expired"`)
		})
	}
}

// clients returns an HTTP client and a URL origin for each protocol.
func (a *testbed) clients(t *testing.T) map[string]struct {
	*http.Client
	origin string
} {
	t.Helper()
	protocols := func(set func(*http.Protocols, bool)) *http.Protocols {
		p := new(http.Protocols)
		set(p, true)
		return p
	}
	config := func() *tls.Config { return &tls.Config{ServerName: gatedHost, InsecureSkipVerify: true} }
	// After a stream breaks, the transport drops the connection without closing it.
	dial := func(ctx context.Context, address string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
		conn, err := quic.DialAddr(ctx, address, tlsConfig, config)
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		}
		return conn, err
	}
	h3 := &http3.Transport{TLSClientConfig: config(), Dial: dial}
	plain, secure := "http://127.0.0.1:"+a.env["HTTP"], "https://127.0.0.1:"+a.env["HTTPS"]
	type client = struct {
		*http.Client
		origin string
	}
	clients := map[string]client{
		"h1": {&http.Client{Transport: &http.Transport{Protocols: protocols((*http.Protocols).SetHTTP1)}}, plain},
		"h2c": {&http.Client{Transport: &http.Transport{Protocols: protocols((*http.Protocols).SetUnencryptedHTTP2)}},
			plain},
		"h2": {&http.Client{Transport: &http.Transport{Protocols: protocols((*http.Protocols).SetHTTP2),
			TLSClientConfig: config()}}, secure},
		"h3": {&http.Client{Transport: h3}, secure},
	}
	for _, c := range clients {
		t.Cleanup(c.CloseIdleConnections)
	}
	return clients
}

// slowRequest is a request whose body the test sends piece by piece.
type slowRequest struct {
	body     *io.PipeWriter
	response chan slowResponse
}

type slowResponse struct {
	status int
	code   string // the error code of a refusal
	err    error
}

func (a slowResponse) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.code))
}

// doRequest sends a request and reads the whole response.
func doRequest(client *http.Client, request *http.Request) slowResponse {
	response, err := client.Do(request)
	if err != nil {
		return slowResponse{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	var problem struct{ Code string }
	text, err := io.ReadAll(response.Body)
	_ = json.Unmarshal(text, &problem)
	return slowResponse{response.StatusCode, problem.Code, err}
}

// send begins a request with the first piece of its body.
func send(ctx context.Context, t *testing.T, client *http.Client, host, url, token, first string) *slowRequest {
	t.Helper()
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Authorization", "Bearer "+token)
	s := &slowRequest{body: writer, response: make(chan slowResponse, 1)}
	go func() { s.response <- doRequest(client, request) }()
	if _, err := io.WriteString(writer, first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Close() })
	return s
}

// waitUntilDecided waits until the gate has decided on a request. The token must have a rate
// limit of 1000 requests.
func (c *caddy) waitUntilDecided(token, path string) {
	c.t.Helper()
	question := map[string]string{"token": token, "method": http.MethodPost, "path": path}
	c.eventually("the gate has decided", func() bool {
		return strings.Contains(c.call(http.MethodPost, "explain", question, http.StatusOK), "999")
	})
}

// limited creates a token with the rate limit that [caddy.waitUntilDecided] needs.
func (c *caddy) limited(scopes ...string) string {
	c.t.Helper()
	return c.mint(map[string]any{"scopes": scopes, "rate_limit": map[string]any{"requests": 1000, "window": "24h"}})
}

// TestSlowBody withdraws a token's access after the request head but before the end of the
// body.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, testbedConfig(), nil)
	for protocol, client := range a.clients(t) {
		for way, lost := range withdrawals {
			t.Run(protocol+", "+way, func(t *testing.T) {
				a.plain.forget()
				token := a.limited("plain:write")
				request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/write", token, "first")
				a.waitUntilDecided(token, "/plain/write")
				a.withdraw(token, way)
				_, _ = io.WriteString(request.body, "chosen later")
				_ = request.body.Close()
				want := lost.want
				if want == "" {
					want = "200"
				}
				if response := <-request.response; response.String() != want {
					t.Errorf("got %v, want %s", response, want)
				}
				seen := a.plain.requests()
				if lost.want != "" && len(seen) != 0 {
					t.Errorf("the backend saw %d requests", len(seen))
				}
				if lost.want == "" && (len(seen) != 1 || seen[0].header.Get("Authorization") != "" ||
					seen[0].header.Get("X-Token-Account") != "bare") {
					t.Errorf("the backend saw %+v", seen)
				}
				if way != "deleted" {
					if allowed, denied := a.usage(token); lost.want != "" && (allowed != 0 || denied != 1) {
						t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
					}
				}
			})
		}
	}
}

// TestUploadEndsWithToken withdraws a token's access during an upload.
func TestUploadEndsWithToken(t *testing.T) {
	t.Parallel()
	type reading struct {
		n   int64
		err error
	}
	begun, ended := make(chan struct{}), make(chan reading)
	backend := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
		begun <- struct{}{}
		n, err := io.Copy(io.Discard, r.Body)
		ended <- reading{n, err}
	})
	server := &http.Server{Handler: backend, ReadHeaderTimeout: time.Minute}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	a := startTestbed(t, strings.ReplaceAll(testbedConfig(), "{$PLAIN}", listener.Addr().String()), nil)
	for protocol, client := range a.clients(t) {
		for way, lost := range withdrawals {
			if lost.want == "" {
				continue
			}
			t.Run(protocol+", "+way, func(t *testing.T) {
				token := a.limited("plain:upload")
				request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/upload", token, "first")
				<-begun
				lastly := time.Now()
				a.withdraw(token, way)
				if way != "expired" {
					lastly = time.Now()
				}
				got := <-ended
				if took := time.Since(lastly); took > 2*time.Second {
					t.Errorf("the upload continued for %v", took)
				}
				if got.err == nil {
					t.Errorf("the backend treated the upload as complete")
				}
				if response := <-request.response; response.String() != lost.want {
					t.Errorf("got %v, want %s", response, lost.want)
				}
				// The client notices the closed connection after a few writes.
				for _, err := io.WriteString(request.body, "x"); err == nil && protocol != "h3"; _,
					err = io.WriteString(request.body, "x") {
					if time.Since(lastly) > 10*time.Second {
						t.Fatal("the client can still send")
					}
				}
			})
		}
	}
	// An upload that is already complete may finish.
	token := a.limited("plain:upload")
	client := a.clients(t)["h1"]
	request := send(t.Context(), t, client.Client, gatedHost, client.origin+"/plain/upload", token, "whole")
	<-begun
	_ = request.body.Close()
	if got := <-ended; got.n != 4 || got.err != nil {
		t.Errorf("the backend got %d more bytes and error %v", got.n, got.err)
	}
	a.withdraw(token, "revoked")
	if response := <-request.response; response.String() != "200" {
		t.Errorf("got %v", response)
	}
}

// TestRetriedRequest ends a token while Caddy keeps trying to reach the backend.
func TestRetriedRequest(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	c := startCaddy(t, globals+"http://127.0.0.1:{$HTTP} {\n"+gateBlock("route POST /x plain:write")+"reverse_proxy "+
		address+" {\nlb_try_duration 20s\nlb_try_interval 50ms\n}\n}",
		map[string]string{"UPSTREAM": "backend-token"})
	for name, body := range map[string]string{"with a body": "whole", "without": ""} {
		token := c.limited("plain:write")
		request := send(t.Context(), t, new(http.Client), "", c.url("/x"), token, body)
		_ = request.body.Close()
		c.waitUntilDecided(token, "/x")
		c.withdraw(token, "revoked")
		if response := <-request.response; response.String() != "401 revoked_token" {
			t.Errorf("%s: got %v", name, response)
		}
	}
}

// TestAccountRemovedDuringBody reloads while a client sends a body. The configuration that is
// active when the gate forwards the request must apply.
func TestAccountRemovedDuringBody(t *testing.T) {
	t.Parallel()
	backend := newGoBackend(t, nil)
	for kind, route := range map[string]string{"body": "route POST /x plain:write",
		"spooled upload": "spool_uploads " + t.TempDir() + "\nroute POST /x plain:write {\nupload\n}"} {
		removeAccountDuringBody(t, kind, backend,
			globals+"http://127.0.0.1:{$HTTP} {\n"+gateBlock(route)+"reverse_proxy "+backend.addr()+"\n}")
	}
}

func removeAccountDuringBody(t *testing.T, kind string, backend *goBackend, config string) {
	for name, tt := range map[string]struct{ from, to, want, credential string }{
		"account":        {"account default {", "account other {", "502 account_not_configured", ""},
		"upstream token": {"{env.UPSTREAM}", "replaced-token", "200", "Bearer replaced-token"},
		"store option": {config[strings.Index(config, "\tapi_tokens {") : strings.Index(config, "\n}\n")+1], "",
			"503 store_unavailable", ""},
	} {
		t.Run(kind+", "+name, func(t *testing.T) {
			backend.forget()
			c := startCaddy(t, config, map[string]string{"UPSTREAM": "backend-token"})
			token := c.limited("plain:write")
			request := send(t.Context(), t, new(http.Client), "", c.url("/x"), token, "first")
			c.waitUntilDecided(token, "/x")
			next := strings.Replace(config, tt.from, tt.to, 1)
			if name == "store option" {
				next = strings.Replace(globals, tt.from, "", 1) + "http://127.0.0.1:{$HTTP} {\nrespond 404\n}"
			}
			if err := c.reload(next); err != nil {
				t.Fatal(err)
			}
			_ = request.body.Close()
			if response := <-request.response; response.String() != tt.want {
				t.Errorf("got %v, want %s", response, tt.want)
			}
			seen := backend.requests()
			if (tt.credential != "") != (len(seen) == 1) || len(seen) == 1 &&
				seen[0].header.Get("Authorization") != tt.credential {
				t.Errorf("the backend saw %+v", seen)
			}
		})
	}
}

// TestStalledResponse ends a token while a short response stalls, either before or within its
// body.
func TestStalledResponse(t *testing.T) {
	t.Parallel()
	stands := func(length, sent string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", length)
			_, _ = io.WriteString(w, sent)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	a := startTestbed(t, testbedConfig(), map[string]http.HandlerFunc{"head": stands("10", ""),
		"part": stands("10", "part"), "long": stands("2000000", "part")})
	for protocol, client := range a.clients(t) {
		for kind := range a.plain.responses {
			t.Run(protocol+", "+kind, func(t *testing.T) {
				token := a.mint(map[string]any{"scopes": []string{"plain:read"}})
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
					client.origin+"/plain/read?answer="+kind, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Host = gatedHost
				request.Header.Set("Authorization", "Bearer "+token)
				passed := a.passedRequests()
				failed := make(chan error, 1)
				go func() {
					response, err := client.Do(request)
					if err == nil {
						_, err = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
					failed <- err
				}()
				a.eventually("the response has begun", func() bool { return a.passedRequests() > passed })
				a.withdraw(token, "revoked")
				select {
				case err := <-failed:
					if err == nil {
						t.Error("the response is complete")
					}
				case <-time.After(2 * time.Second):
					t.Error("the response continues")
				}
			})
		}
	}
}

// passedRequests returns the number of requests that the gate has allowed.
func (c *caddy) passedRequests() float64 { return c.scrape()[requestsTotal("ok")] }

// TestBrokenUploadIsIncomplete interrupts forced creates by disconnecting the client or ending
// the token. Mollymawk treats the end of a body of known length as the end of the image, and
// would replace the running unikernel of the same name.
func TestBrokenUploadIsIncomplete(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "web")
	form := "--b\r\nContent-Disposition: form-data; name=\"albatross_instance\"\r\n\r\ndefault\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"unikernel_name\"\r\n\r\nweb\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"unikernel_config\"\r\n\r\n" +
		"{\"typ\":\"solo5\",\"cpuids\":[0],\"memory\":32}\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"unikernel_force_create\"\r\n\r\ntrue\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"molly_csrf\"\r\n\r\n\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"deploy_mode\"\r\n\r\nmanual\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"binary\"; filename=\"web.hvt\"\r\n\r\n" +
		unikernelImage[:len(unikernelImage)/2]
	for name, breakOff := range map[string]func(*h1Conn, string){
		"client leaves":        func(conn *h1Conn, _ string) { conn.close() },
		"client stops sending": func(conn *h1Conn, _ string) { _ = conn.Conn.(*net.TCPConn).CloseWrite() },
		"token is revoked":     func(_ *h1Conn, token string) { s.withdraw(token, "revoked") },
		"token loses its scope": func(_ *h1Conn, token string) {
			s.caddy.call(http.MethodPatch, "tokens/"+tokenID(token),
				map[string]any{"scopes": []string{"unikernel:list"}}, http.StatusOK)
		},
	} {
		for range 3 {
			token := s.token("--preset", "full")
			before := len(s.backend.Requests())
			conn, err := dialH1("127.0.0.1:" + s.env["HTTP"])
			if err != nil {
				t.Fatal(err)
			}
			head := "POST /api/unikernel/create HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearerLine(token) +
				"\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: " + strconv.Itoa(len(form)+1000) +
				"\r\n\r\n"
			if _, err := io.WriteString(conn, head+form); err != nil {
				t.Fatal(err)
			}
			s.eventually("the backend has the request", func() bool { return len(s.backend.Requests()) > before })
			breakOff(conn, token)
			s.eventually("the request has ended", func() bool {
				return strings.Contains(s.output.String(), `"user_id":"`+tokenID(token)+`"`)
			})
			conn.close()
			if n := len(s.backend.Unikernels("alice")); n != 1 {
				t.Fatalf("%s: %d unikernels remain", name, n)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
}
