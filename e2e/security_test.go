package e2e

import (
	"os"
	"strings"
	"testing"
)

// attackTables contains one table of attacks per topic.
var attackTables = []struct {
	name    string
	attacks []attack
}{
	{"path", pathAttacks},
	{"method", methodAttacks},
	{"credential", credentialAttacks},
	{"hop-by-hop", hopAttacks},
	{"identity", identityAttacks},
	{"framing", framingAttacks},
	{"upgrade", upgradeAttacks},
	{"body", bodyAttacks},
	{"response", responseAttacks},
	{"cache", cacheAttacks},
	{"url", urlAttacks},
}

// TestSecurity runs all attacks in the tables, each over every protocol.
func TestSecurity(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, testbedConfig(), backendResponses)
	wires := a.wires()
	for _, w := range wires { // opens the connections and files that Caddy keeps open
		w.exchange(wireRequest{host: gatedHost, method: "GET", target: "/plain/read"}, 1)
	}
	goroutines, files := a.goroutines(), a.openFiles()
	for _, table := range attackTables {
		t.Run(table.name, func(t *testing.T) { a.run(t, wires, table.attacks) })
	}
	a.checkLeftovers(t, goroutines, files)
}

// checkLeftovers checks that the attacks leave nothing behind, and that nothing Caddy has
// logged, stored or now reports contains a secret.
func (a *testbed) checkLeftovers(t *testing.T, goroutines, files int) {
	t.Helper()
	a.client.CloseIdleConnections()
	a.plain.CloseClientConnections() // idle connections of Caddy's proxy
	a.eventually("goroutines have ended", func() bool { return a.goroutines() <= goroutines })
	a.eventually("files and connections are closed", func() bool { return a.openFiles() <= files })
	a.checkLog(t, a.logSince(0))
	store, err := os.ReadFile(a.path("tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{"the store's file": string(store)}
	for _, path := range []string{
		"/metrics", "/config/", "/debug/pprof/goroutine?debug=2", "/reverse_proxy/upstreams",
		"/api_tokens/v1/tokens?limit=200", "/api_tokens/v1/accounts",
	} {
		told[path] = a.getAdmin(path)
	}
	for where, text := range told {
		for _, secret := range a.secrets() {
			if strings.Contains(text, secret) { // the store may contain hashes
				t.Errorf("%s contains a secret", where)
			}
		}
	}
}
