package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mollygate/mollygate/admin"
	adminui "github.com/mollygate/mollygate/admin/dashboard"
	"github.com/mollygate/mollygate/internal/demo"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// sharedDashboard is the dashboard of one of several gates. Only what the gate knows about the
// others is invented.
type sharedDashboard struct {
	*dashboard
	shared *backendtest.Shared
	// busiest is a key that several gates have used.
	busiest string
	host    string
}

func openSharedDashboard(t *testing.T) *sharedDashboard {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	file, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := demo.Fill(file, time.Now(), 1) // closes the file
	if err != nil {
		t.Fatal(err)
	}
	if file, err = bolt.Open(path); err != nil {
		t.Fatal(err)
	}
	shared := &backendtest.Shared{Backend: file, Now: time.Now}
	store, err := tokenstore.Open(shared, tokenstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	d := &sharedDashboard{shared: shared, busiest: keys[1].Token.ID.String()}
	now := time.Now()
	shared.Set(func(s *backendtest.SharedState) {
		s.AsOf, s.MaxStaleness = now.Add(time.Hour), time.Hour // the copy doesn't age during the test
		s.Nodes = []tokenstore.Node{
			{ID: "5Kq2mXw9Rb", Name: "gate-1.fsn1.example.com", Version: "v1.4.0", Self: true, Live: true,
				Started: now.Add(-72 * time.Hour), LastSeen: now, AsOf: now},
			{ID: "9cTe7GhBvD", Name: "gate-2.hel1.example.com", Version: "v1.4.0", Live: true,
				Started: now.Add(-71 * time.Hour), LastSeen: now.Add(-2 * time.Second),
				AsOf: now.Add(-3 * time.Second)},
			{ID: "a0LfSi1S3o", Name: strings.Repeat("a-long-host-name-", 4), Version: "v1.3.2",
				Started: now.Add(-900 * time.Hour), LastSeen: now.Add(-49 * time.Hour), AsOf: now.Add(-49 * time.Hour)},
			{ID: "zYpQ1uJm5K", Name: "gate-4"},
		}
		s.Used = map[token.ID]map[string]tokenstore.Usage{keys[1].Token.ID: {
			"9cTe7GhBvD": {Allowed: 8123, Denied: 31, Last: tokenstore.LastUse{Time: now.Add(-3 * time.Hour)}},
			"a0LfSi1S3o": {Denied: 2},
		}}
	})
	open := func(context.Context) (*tokenstore.Store, error) { return store, nil }
	prefixes := token.Prefixes{token.DefaultPrefix}
	sessions := new(admin.Sessions)
	mux := http.NewServeMux()
	mux.Handle("/", adminui.New())
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", admin.New(admin.Config{
		Store: open, Policy: token.Policy{Prefixes: prefixes},
		Authenticate: func(*http.Request) (tokenstore.Actor, *admin.Refusal) {
			return tokenstore.Actor{Name: "user:carol"}, nil
		},
		Bearer: &admin.Bearer{Store: open, Prefixes: prefixes, Sessions: func() *admin.Sessions { return sessions },
			Secure:   func(*http.Request) bool { return false },
			ClientIP: func(*http.Request) netip.Addr { return netip.Addr{} }},
	})))
	server := httptest.NewServer(mux)
	t.Cleanup(server.CloseClientConnections) // ends the event stream, for which Close waits
	t.Cleanup(server.Close)
	d.host = server.Listener.Addr().String()
	d.dashboard = &dashboard{browser: newBrowser(t), url: server.URL + "/"}
	return d
}

// look checks the layout and the accessibility of the current page, and takes pictures of it.
func (d *sharedDashboard) look(name string) {
	d.t.Helper()
	for _, width := range []int64{360, 820, 1280, 1920} {
		d.do(chromedp.EmulateViewport(width, 900))
		for _, scheme := range []string{"light", "dark"} {
			if !*takeScreenshots && scheme == "dark" && width != 1280 {
				continue // only colors differ
			}
			d.scheme(scheme)
			d.checkLayout(fmt.Sprintf("%s at %d pixels, %s", name, width, scheme))
			switch {
			case scheme == "dark" && width == 1280:
				d.accessible(name+", dark", "color-contrast")
			case scheme == "light" && (width == 360 || width == 1280):
				d.accessible(name)
			}
			if *takeScreenshots {
				d.screenshot(strings.Join([]string{name, "at", strconv.FormatInt(width, 10), scheme}, "-"))
			}
		}
	}
}

// TestDashboardNodes checks what the dashboard shows if several gates share the key store.
func TestDashboardNodes(t *testing.T) {
	t.Parallel()
	d := openSharedDashboard(t)
	d.page("#settings")
	d.shows("These gates share the key store.", "gate-1.fsn1.example.com", "this gate", "v1.3.2", "gone", "2 d ago",
		"never", "Shared copy")
	d.look("nodes")
	d.page("#key/" + d.busiest)
	d.shows("By gate, in total", "gate-2.hel1.example.com", "8,123", "3 h ago")
	d.look("nodes-key")

	// Without contact, the page warns and goes on with the copy.
	d.shared.Set(func(s *backendtest.SharedState) {
		s.AsOf, s.Problem = time.Now().Add(-12*time.Minute), errors.New("kv-1.example.com:2379: connection refused")
		s.Nodes[0].Live = false
	})
	d.page("#settings")
	d.reload()
	d.shows("no contact with the shared store for 12 minutes: kv-1.example.com:2379: connection refused. Valid keys",
		"nothing can be changed.", "no contact", "12 m old")
	d.look("nodes-behind")
	d.page("#overview")
	d.shows("Busiest keys", "nothing can be changed.")
	d.look("nodes-behind-overview")

	d.shared.Set(func(s *backendtest.SharedState) { s.AsOf = time.Now().Add(-2 * time.Hour) })
	d.shows("All requests are refused until contact is restored.")
	d.shared.Set(func(s *backendtest.SharedState) { s.AsOf, s.Problem = time.Now().Add(time.Hour), nil })
	begun := time.Now()
	d.hides("with the shared store for")
	if waited := time.Since(begun); waited > 30*time.Second { // without a problem, the page asks once a minute
		t.Errorf("the problem was shown for another %v", waited)
	}
	d.checkQuiet(d.host)
}
