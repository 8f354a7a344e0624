package e2e

import (
	"os"
	"strings"
	"testing"
)

// attackTables are the tables by the sections of the list of security cases. The
// names of their lines begin with the cases' numbers.
var attackTables = []struct {
	name    string
	attacks []attack
}{
	{"PATH", pathAttacks},
	{"MET", methodAttacks},
	{"CRED", credentialAttacks},
	{"HOP", hopAttacks},
	{"IDH", identityAttacks},
	{"FRM", framingAttacks},
	{"UPG", upgradeAttacks},
	{"BODY", bodyAttacks},
	{"ANS", answerAttacks},
	{"CACHE", cacheAttacks},
	{"LOG", urlAttacks},
}

// TestSecurity makes all attacks of the tables, each over every protocol.
func TestSecurity(t *testing.T) {
	t.Parallel()
	a := startArena(t, arenaConfig(), backendAnswers)
	wires := a.wires()
	for _, w := range wires { // so that what is made once has been made
		w.exchange(wireRequest{host: gatedHost, method: "GET", target: "/plain/read"}, 1)
	}
	goroutines, files := a.goroutines(), a.openFiles()
	for _, table := range attackTables {
		t.Run(table.name, func(t *testing.T) { a.run(t, wires, table.attacks) })
	}
	a.checkLeftovers(t, goroutines, files)
}

// checkLeftovers checks, at the end, that nothing is left behind (I8), and looks
// for secrets in all that Caddy tells and keeps (I7): security case LOG-01, with
// everything logged that can be.
func (a *arena) checkLeftovers(t *testing.T, goroutines, files int) {
	t.Helper()
	a.client.CloseIdleConnections()
	a.plain.CloseClientConnections() // those that Caddy keeps for later requests
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
			if strings.Contains(text, secret) { // the store may hold hashes
				t.Errorf("%s holds a secret", where)
			}
		}
	}
}
