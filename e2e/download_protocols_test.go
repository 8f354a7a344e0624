package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const downloadHost = "download.test"

// downloadSite is a gate that clients can reach over all protocols.
const downloadSite = globals + "http://127.0.0.1:{$HTTP}, https://" + downloadHost + `:{$HTTPS} {
	tls internal
	log
	route {
		bearer_auth {
			failure_limit off
			routes mollymawk
			route GET /other plain:read
		}
		reverse_proxy {$BACKEND} {
			transport http {
				versions 1.1
				keepalive off
			}
		}
	}
}`

// curlProtocols holds curl's arguments for each protocol, and whether the protocol uses TLS.
var curlProtocols = map[string]struct {
	args   []string
	secure bool
}{
	"HTTP/1.0":           {[]string{"--http1.0"}, false},
	"HTTP/1.0 over TLS":  {[]string{"--http1.0", "--no-alpn"}, true},
	"HTTP/1.1":           {[]string{"--http1.1"}, false},
	"HTTP/1.1 over TLS":  {[]string{"--http1.1"}, true},
	"HTTP/2 without TLS": {[]string{"--http2-prior-knowledge"}, false},
	"HTTP/2":             {[]string{"--http2"}, true},
}

// downloadBy downloads a block over the given protocol.
func (s *site) downloadBy(t *testing.T, protocol, token, body string) (exit int, status string, file []byte) {
	t.Helper()
	p := curlProtocols[protocol]
	if !p.secure {
		return s.download(t, token, body, p.args...)
	}
	host := downloadHost + ":" + s.env["HTTPS"]
	return downloadFrom(t, "https://"+host, token, body,
		append([]string{"--insecure", "--resolve", host + ":127.0.0.1"}, p.args...)...)
}

// TestShortDownloadProtocols checks that no client mistakes a truncated download for a
// complete one. An HTTP/1.0 client, such as a proxy, treats the end of the connection as the
// end of the response, so the gate resets the connection.
func TestShortDownloadProtocols(t *testing.T) {
	t.Parallel()
	s := startSite(t, downloadSite, mollymawktest.Options{})
	s.waitForCertificates(downloadSite)
	s.backend.AddBlock("alice", "default", "data", 2, randomBytes(2<<20))
	token := s.token("--preset", "backup")
	for protocol := range curlProtocols {
		for _, level := range []string{"0", "6"} {
			for short, whole := range map[int64]bool{0: true, 1: false, 1<<20 - 1: false, 1<<20 + 1: false,
				2<<20 - 1: false} {
				s.backend.SetFaults(mollymawktest.Faults{ShortDownload: short})
				if exit, status, file := s.downloadBy(t, protocol, token,
					downloadBody("data", level)); status != "200" && status != "000" || (exit == 0) != whole {
					t.Errorf("%s, level %s, %d bytes: got exit status %d, status %s and %d bytes",
						protocol, level, short, exit, status, len(file))
				}
			}
		}
	}
}

// TestShortDownloadHTTP3 is TestShortDownloads for HTTP/3, which some curl builds don't
// support.
func TestShortDownloadHTTP3(t *testing.T) {
	t.Parallel()
	s := startSite(t, downloadSite, mollymawktest.Options{})
	s.waitForCertificates(downloadSite)
	token := s.token("--preset", "backup")
	s.backend.AddBlock("alice", "default", "data", 2, randomBytes(2<<20))
	// After a stream breaks, the transport drops the connection without closing it.
	dial := func(ctx context.Context, address string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
		conn, err := quic.DialAddr(ctx, address, tlsConfig, config)
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		}
		return conn, err
	}
	transport := &http3.Transport{TLSClientConfig: &tls.Config{ServerName: downloadHost, InsecureSkipVerify: true},
		Dial: dial}
	for _, level := range []string{"0", "6"} {
		for short, whole := range map[int64]bool{0: true, 1: false, 1<<20 + 1: false, 2<<20 - 1: false} {
			s.backend.SetFaults(mollymawktest.Faults{ShortDownload: short})
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				"https://127.0.0.1:"+s.env["HTTPS"]+"/api/block/download",
				strings.NewReader(downloadBody("data", level)))
			if err != nil {
				t.Fatal(err)
			}
			request.Host = downloadHost
			request.Header.Set("Authorization", "Bearer "+token)
			response, err := transport.RoundTrip(request)
			var n int64
			if err == nil {
				n, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
			if (err == nil) != whole {
				t.Errorf("level %s, %d bytes: got %d bytes, error %v", level, short, n, err)
			}
		}
	}
}

// TestBrokenDownload breaks the backend connection after a whole number of MiB.
func TestBrokenDownload(t *testing.T) {
	t.Parallel()
	sent := 2 << 20
	backend := downloadBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+
			strconv.FormatInt(int64(sent), 16)+"\r\n")
		_, _ = conn.Write(randomBytes(sent))
		_ = conn.Close()
	})
	s := &site{caddy: startCaddy(t, downloadSite,
		map[string]string{"BACKEND": backend.addr(), "UPSTREAM": "backend-token"}), upstream: "backend-token"}
	s.waitForCertificates(downloadSite)
	token := s.token("--preset", "backup")
	for protocol := range curlProtocols {
		for _, level := range []string{"0", "6"} {
			if exit, status, data := s.downloadBy(t, protocol, token, downloadBody("data", level)); exit == 0 ||
				status != "200" {
				t.Errorf("%s, level %s: got exit status %d, status %s and %d bytes",
					protocol, level, exit, status, len(data))
			}
		}
	}
}

// downloadBackend returns a backend that accepts every instance and handles downloads with
// response.
func downloadBackend(t *testing.T, response http.HandlerFunc) *goBackend {
	t.Helper()
	return newGoBackend(t, map[string]http.HandlerFunc{"": func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		response(w, r)
	}})
}

// TestDownloadStalls ends the token, or disconnects the client, while a download waits for the
// response to the gate's probe, for the first byte or for more bytes.
func TestDownloadStalls(t *testing.T) {
	t.Parallel()
	for stage, sent := range map[string]string{"probe": "", "head": "", "part": "part"} {
		var stalled atomic.Int64
		stall := func(r *http.Request) {
			stalled.Add(1)
			defer stalled.Add(-1)
			<-r.Context().Done()
		}
		backend := newGoBackend(t, map[string]http.HandlerFunc{"": func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodGet && stage != "probe":
				w.WriteHeader(http.StatusBadRequest)
				return
			case r.Method != http.MethodGet:
				_, _ = io.WriteString(w, sent)
				_ = http.NewResponseController(w).Flush()
			}
			stall(r)
		}})
		s := &site{caddy: startCaddy(t, downloadSite,
			map[string]string{"BACKEND": backend.addr(), "UPSTREAM": "backend-token"}), upstream: "backend-token"}
		heads := func() int { return strings.Count(s.output.String(), `"msg":"upstream roundtrip"`) }
		for _, level := range []string{"0", "6"} {
			begin := func(ctx context.Context, t *testing.T) (token string, response <-chan string) {
				t.Helper()
				token, before := s.limited("block:download"), heads()
				response = beginDownload(ctx, t, s.url("/api/block/download"), token, level)
				s.eventually("the backend stalls",
					func() bool { return stalled.Load() == 1 && (stage == "probe" || heads() > before) })
				return token, response
			}
			for way, lost := range withdrawals {
				if lost.want == "" {
					continue
				}
				t.Run(stage+", level "+level+", "+way, func(t *testing.T) {
					token, response := begin(t.Context(), t)
					s.withdraw(token, way)
					want := lost.want
					if stage == "part" {
						want = "broken"
					}
					select {
					case got := <-response:
						if got != want {
							t.Errorf("got response %s, want %s", got, want)
						}
					case <-time.After(2 * time.Second):
						t.Error("the download continues")
					}
					s.eventually("the backend's request has ended", func() bool { return stalled.Load() == 0 })
				})
			}
			t.Run(stage+", level "+level+", client leaves", func(t *testing.T) {
				ctx, leave := context.WithCancel(t.Context())
				_, response := begin(ctx, t)
				leave()
				<-response
				s.eventually("the backend's request has ended", func() bool { return stalled.Load() == 0 })
			})
		}
	}
}

// beginDownload starts a download. The returned channel receives the status and error code of
// the response, or "broken" if the response is incomplete.
func beginDownload(ctx context.Context, t *testing.T, url, token, level string) <-chan string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url,
		strings.NewReader(downloadBody("data", level)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	result := make(chan string, 1)
	go func() {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			result <- "broken"
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			result <- "broken"
			return
		}
		code := ""
		if _, after, ok := strings.Cut(string(body), `"code":"`); ok {
			code, _, _ = strings.Cut(after, `"`)
		}
		result <- strings.TrimSpace(strconv.Itoa(response.StatusCode) + " " + code)
	}()
	return result
}

// TestSharedProbes checks that simultaneous calls for the same instance share one probe, and
// that the probe keeps its own path even if handlers after the gate rewrite paths.
func TestSharedProbes(t *testing.T) {
	t.Parallel()
	const calls = 20
	response := make(chan struct{})
	backend := newGoBackend(t, map[string]http.HandlerFunc{"": func(w http.ResponseWriter, _ *http.Request) {
		<-response
		w.WriteHeader(http.StatusNotFound)
	}})
	rewriting := strings.Replace(downloadSite, "reverse_proxy", "rewrite * /base{http.request.uri}\nreverse_proxy", 1)
	s := &site{
		caddy:    startCaddy(t, rewriting, map[string]string{"BACKEND": backend.addr(), "UPSTREAM": "backend-token"}),
		upstream: "backend-token"}
	token := s.token("--preset", "backup")
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			s.expectProblem(t, token, "/api/block/download", http.StatusNotFound, "backend_error", "-d",
				downloadBody("data", "0"))
		})
	}
	s.eventually("the gate has allowed all calls", func() bool {
		allowed, _ := s.usage(token)
		return allowed == calls
	})
	close(response)
	all.Wait()
	seen := backend.requests()
	if len(seen) > calls/2 {
		t.Errorf("%d calls caused %d probes, want 1", calls, len(seen))
	}
	for _, request := range seen {
		if request.target != "/base/api/unikernel/console?instance=default&unikernel=-" {
			t.Errorf("the gate probed the path %s", request.target)
		}
	}
}
