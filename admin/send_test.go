package admin

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// large is a backend whose backups are larger than all network buffers combined.
type large struct {
	tokenstore.Backend
}

const largeBackup = 1 << 30

func (large) Backup() (io.ReadCloser, int64, error) {
	return io.NopCloser(io.LimitReader(zeros{}, largeBackup)), largeBackup, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBackupStopsWithAuthorization verifies that a client that has stopped reading a
// backup doesn't receive the rest after its authorization has ended.
func TestBackupStopsWithAuthorization(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(console, site *fixture, id, cookie string){
		"token revoked": func(console, _ *fixture, id,
			_ string) {
			console.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
		},
		"token deleted": func(console, _ *fixture, id, _ string) { console.do(http.MethodDelete, "/tokens/"+id, "") },
		"other address": func(console, _ *fixture, id,
			_ string) {
			authEnds["restricted to another address"].end(console, id)
		},
		"session closed": func(_, site *fixture, _, cookie string) {
			site.do(http.MethodDelete, "https://x/session", "",
				cookie)
		},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				console, site := newLargeSite(t)
				id, secret := console.create(`{"kind":"admin"}`)
				_, cookie := site.signIn("https://x", secret)
				server := httptest.NewUnstartedServer(site.handler)
				server.EnableHTTP2 = http2
				server.StartTLS()
				t.Cleanup(server.Close)
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/backup", nil)
				if err != nil {
					t.Fatal(err)
				}
				if name == "session closed" {
					request.AddCookie(cookie)
				} else {
					request.Header.Set("Authorization", "Bearer "+secret)
				}
				response, err := server.Client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK || response.ContentLength != largeBackup ||
					response.ProtoMajor == 2 != http2 {
					t.Fatalf("got %s, %d bytes, %s", response.Status, response.ContentLength, response.Proto)
				}
				if _, err := io.ReadFull(response.Body, make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
				end(console, site, id, with(cookie))
				// The server aborts the backup even though the client isn't reading.
				deadline := time.After(20 * time.Second)
				for site.logs.FilterMessage("backup aborted").Len() == 0 {
					select {
					case <-deadline:
						t.Fatal("the backup wasn't aborted")
					case <-time.After(5 * time.Millisecond):
					}
				}
				if n, err := io.Copy(io.Discard, response.Body); err == nil || n > largeBackup/2 {
					t.Errorf("got %d more bytes, err %v", n, err)
				}
			})
		}
	}
}

func newLargeSite(t *testing.T) (console, site *fixture) {
	t.Helper()
	console = newFixtureOver(t, func(b tokenstore.Backend) tokenstore.Backend { return large{b} })
	open := console.config.Store
	sessions := new(Sessions)
	site = newFixture(t, func(c *Config) {
		c.Store = open
		c.Bearer = &Bearer{
			Store: open, Prefixes: c.Policy.Prefixes,
			ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
			Sessions: func() *Sessions { return sessions }, Secure: func(*http.Request) bool { return true },
		}
		c.Authenticate = BearerAuthenticator(*c.Bearer)
	})
	return console, site
}

// TestConcurrentBackupsAreLimited verifies that a third concurrent backup is refused on
// every mount.
func TestConcurrentBackupsAreLimited(t *testing.T) {
	t.Parallel()
	console, site := newLargeSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	server := httptest.NewServer(site.handler)
	t.Cleanup(server.Close)
	var open []*http.Response
	for range 2 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/backup", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		response, err := server.Client().Do(request)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response, err)
		}
		defer response.Body.Close()
		open = append(open, response)
	}
	for range 2 {
		for _, f := range []*fixture{console, site} {
			w := f.do(http.MethodGet, "/backup", "", "Authorization: Bearer "+secret)
			f.refused(w, 429, "too_many_backups")
			if w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Disposition") != "" {
				t.Errorf("got headers %v", w.Header())
			}
		}
	}
	for _, response := range open {
		_ = response.Body.Close()
	}
	deadline := time.After(20 * time.Second)
	for site.logs.FilterMessage("backup aborted").Len() < 2 {
		select {
		case <-deadline:
			t.Fatal("the backups weren't aborted after their clients disconnected")
		case <-time.After(5 * time.Millisecond):
		}
	}
	var first bytes.Buffer
	request := httptest.NewRequest(http.MethodGet, "/backup", nil)
	console.handler.ServeHTTP(&discarding{header: make(http.Header), first: &first}, request)
	if first.Len() == 0 {
		t.Error("a backup after the first two was refused")
	}
}

// discarding is a ResponseWriter that discards the body.
type discarding struct {
	header http.Header
	first  *bytes.Buffer
}

func (d *discarding) Header() http.Header { return d.header }
func (d *discarding) WriteHeader(int)     {}
func (d *discarding) Write(p []byte) (int, error) {
	if d.first.Len() > 0 {
		return 0, io.ErrClosedPipe
	}
	return d.first.Write(p)
}
