package e2e

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// faultReload reloads configurations under load: valid ones, rejected ones, and ones with
// different options. Caddy must not refuse requests, lose counts, or leave goroutines or
// descriptors behind. TestReloadUnderLoad (with token changes) and TestUsageSurvivesReloads
// (over HTTP/1) also reload under load.
func faultReload(f *fault) {
	c := newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)
	option := func(old, option string) []byte { return c.adapted(strings.Replace(countingSite, old, option, 1)) }
	good := c.adapted(countingSite)
	configs := []struct {
		name   string
		config []byte
		want   int
	}{
		{"good", good, http.StatusOK},
		{"rejected route", bytes.Replace(good, []byte(`"scope":"test:allowed"`), []byte(`"scope":"no scope"`), 1),
			http.StatusBadRequest},
		{"rejected store", bytes.Replace(good, []byte("tokens.db"), []byte("tokens.db/x"), 1), http.StatusBadRequest},
		{"another route", option("route {\n", "route {\n\t\trespond /more more\n"), http.StatusOK},
		{"other limits",
			option("bearer_auth {\n",
				"bearer_auth {\n\t\t\tfailure_limit 7 10m\n\t\t\tmax_body 3KiB\n\t\t\tbody_timeout 7s\n"),
			http.StatusOK},
		{"different store options",
			option("account default\n",
				"account default\n\t\taccount other\n\t\tmax_lifetime 1y\n\t\taudit_retention 1y\n"), http.StatusOK},
		{"access log", option("route {\n", "log\n\troute {\n"), http.StatusOK},
	}
	for _, config := range configs {
		if config.name != "good" && bytes.Equal(config.config, good) {
			f.Fatalf("the configuration %q is the same as the good one", config.name)
		}
	}
	var lost atomic.Int64
	// Even without Mollygate, a reload may reset a connection that is just being established,
	// and with HTTP/1 other connections as well. This test therefore uses HTTP/2, with one
	// connection for all clients.
	use := func() (stop func()) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		seed := f.random.Uint64()
		ctx, cancel := context.WithCancel(f.Context())
		var clients sync.WaitGroup
		clients.Go(func() {
			useTokensOver(ctx, c, transport, tokens, seed, func(err error) {
				if refused := refusedError(""); errors.As(err, &refused) {
					f.Error(err)
					cancel()
				} else if lost.Add(1) == 1 {
					f.Logf("the first request without a response failed with %v", err)
				}
			})
		})
		stop = func() {
			cancel()
			clients.Wait()
			transport.CloseIdleConnections()
		}
		f.Cleanup(stop)
		return stop
	}
	reload := func(i int) {
		f.Helper()
		config := configs[i%len(configs)]
		if i >= len(configs) {
			config = configs[f.random.IntN(len(configs))]
		}
		if status, err := c.load(config.config); err != nil || status != config.want {
			f.Fatalf("reload %d, %s: status %d, want %d: %v", i, config.name, status, config.want, err)
		}
		answeredMore(c, tokens, 20)
		if n := c.timesOpen(c.env["STORE"]); n != 1 {
			f.Fatalf("reload %d, %s: the store is open %d times", i, config.name, n)
		}
	}
	reset := func() {
		f.Helper()
		if status, err := c.load(good); err != nil || status != http.StatusOK {
			f.Fatalf("status %d: %v", status, err)
		}
	}
	stop := use()
	for i := range configs { // Caddy creates some goroutines and files just once
		reload(i)
	}
	stop()
	reset()
	goroutines, files := c.goroutines(), c.openFiles()
	stop = use()
	reloads := f.size(60, 500)
	for i := range reloads {
		reload(len(configs) + i)
		if f.Failed() {
			return
		}
	}
	stop()
	reset()
	c.leavesNothing(goroutines, files)
	if n := lost.Load(); n > int64(countingClients*(1+reloads/50)) {
		f.Errorf("%d requests got no response", n)
	}
	c.restart(countingSite)
	last := checkUsage(c, tokens)
	f.Logf("%d reloads: %d requests sent, %d answered, %d counted, %d got no response", reloads, last.sent,
		last.answered, last.counted, lost.Load())
}
