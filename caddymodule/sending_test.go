package caddymodule

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() { registerHandler("sending", sendingHandler) }

// sending is the state shared by the test and sendingHandler.
var sending struct {
	arrived   chan struct{} // receives one value per waiting request
	release   chan struct{} // closed when the requests may be sent
	transport *http.Transport
	backend   string
}

// sendingHandler delays requests before sending them, like a proxy that has no free
// connection.
func sendingHandler(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	sending.arrived <- struct{}{}
	<-sending.release
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, sending.backend, nil)
	if err != nil {
		return err
	}
	response, err := sending.transport.RoundTrip(out)
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	w.WriteHeader(response.StatusCode)
	return response.Body.Close()
}

// TestExpiredRequestIsNotSent checks that a waiting request isn't sent over any protocol once
// its token has expired, even if the store hasn't detected the expiry yet.
func TestExpiredRequestIsNotSent(t *testing.T) {
	sites, _ := loadChains(t)
	module, err := caddy.ActiveContext().App(appName)
	if err != nil {
		t.Fatal(err)
	}
	app := module.(*App)
	store, err := app.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const requests = 3
	policy := app.policy
	policy.Catalog = app.gates.catalog()
	for name, set := range map[string]func(*http.Protocols, bool){
		"h1": (*http.Protocols).SetHTTP1, "h2": (*http.Protocols).SetHTTP2,
		"h2c": (*http.Protocols).SetUnencryptedHTTP2,
	} {
		var received atomic.Int64
		protocols := new(http.Protocols)
		set(protocols, true)
		backend := httptest.NewUnstartedServer(
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received.Add(1) }))
		backend.Config.Protocols = protocols
		if backend.EnableHTTP2 = name == "h2"; backend.EnableHTTP2 {
			backend.StartTLS()
		} else {
			backend.Start()
		}
		sending.transport = &http.Transport{Protocols: protocols,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		sending.backend, sending.arrived, sending.release = backend.URL, make(chan struct{}, requests),
			make(chan struct{})
		token, secret, err := store.Create(policy, token.Draft{
			Kind: token.KindAPI, Name: "ci", Account: "default", Preset: "full",
			Expiry: token.Expiry{ExpiresAt: store.Now().Add(2 * time.Second)},
		}, tokenstore.Actor{Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		responses := make(chan *httptest.ResponseRecorder, requests)
		for range requests {
			r := httptest.NewRequest(http.MethodGet, "/api/unikernels", nil)
			r.Host = "gated-sending"
			r.Header = http.Header{"Authorization": {"Bearer " + secret.Reveal()}}
			go func() {
				response := httptest.NewRecorder()
				sites["gated-sending"].ServeHTTP(response, r)
				responses <- response
			}()
		}
		pending := requests
		for arrived := 0; arrived < pending; {
			select {
			case <-sending.arrived:
				arrived++
			case response := <-responses:
				pending--
				t.Errorf("%s: got response %d %s before the handler was called", name, response.Code, response.Body)
			}
		}
		time.Sleep(token.ExpiresAt.Sub(store.Now()))
		close(sending.release)
		for range pending {
			if response := <-responses; response.Code != http.StatusUnauthorized {
				t.Errorf("%s: got response %d %s", name, response.Code, response.Body)
			}
		}
		sending.transport.CloseIdleConnections()
		backend.Close() // waits for requests that are in progress
		if n := received.Load(); n != 0 {
			t.Errorf("%s: the backend received %d of %d requests, want none", name, n, requests)
		}
	}
}
