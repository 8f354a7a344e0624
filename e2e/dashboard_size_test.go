package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

var (
	paintTokens = flag.Int("paint.tokens", 2000, "the number of tokens in the store of TestDashboardSize")
	paintStore  = flag.String("paint.store", "", "a store file that TestDashboardSize copies instead of making one")
)

// mostBytes is the most that the files of the dashboard may have, minified, before compression.
const mostBytes = 122_880

// fillTokens creates tokens in a new store without a server.
func fillTokens(t *testing.T, path string, n int) {
	t.Helper()
	backend, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	table, _ := gate.TableByName("mollymawk")
	policy := token.Policy{Prefixes: token.Prefixes{token.DefaultPrefix}, Accounts: []string{"default"},
		Catalog: gate.Catalog(table)}
	errs := make(chan error)
	begin := make(chan int)
	for range min(n, 10_000) { // tokens created concurrently share commits
		go func() {
			for i := range begin {
				draft := token.Draft{Kind: token.KindAPI, Name: fmt.Sprint("pipeline ", i), Account: "default",
					Preset: "deploy", Expiry: token.Expiry{NeverExpires: true}}
				_, _, err := store.Create(policy, draft, tokenstore.Actor{Name: "test"})
				errs <- err
			}
		}()
	}
	go func() {
		for i := range n {
			begin <- i
		}
		close(begin)
	}()
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyFile copies a file.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDashboardSize measures how soon the overview is shown and how many bytes it loads. With a
// store of another size:
//
//	go test -C e2e -run TestDashboardSize -v . -paint.tokens 1000000
func TestDashboardSize(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	upstream := backend.AddToken("alice", "gate", 24*time.Hour)
	c := newCaddy(t, map[string]string{"BACKEND": backend.Addr(), "UPSTREAM": upstream})
	if *paintStore != "" {
		copyFile(t, *paintStore, c.path("tokens.db"))
	} else {
		fillTokens(t, c.path("tokens.db"), *paintTokens)
	}
	c.start(browserSite)
	d := &dashboard{browser: newBrowser(t), site: &site{caddy: c, backend: backend, upstream: upstream},
		url: "http://keys.localhost:" + c.env["HTTP"] + "/", admin: c.token("--kind", "admin", "--name", "carol")}
	d.ask(c.token("--name", "used", "--preset", "read")) // so the overview has a request to show
	d.open(d.url)
	d.signIn()
	const tiles = `(document.querySelectorAll(".tiles .figure").length === 4 &&
		[...document.querySelectorAll(".tiles .figure")].every((figure) => figure.textContent !== "–"))`
	d.wait("the tiles are shown", tiles)

	// The sizes are those of the files, because the browser doesn't know that of icons.svg.
	loaded := func() (bytes int) {
		names := evaluate[[]string](d.browser, `[...new Set([...performance.getEntriesByType("navigation"),
			...performance.getEntriesByType("resource")].map((entry) => entry.name.replace(/[#?].*/, ""))
			.filter((name) => !name.includes("/api/")))]`)
		for _, name := range names {
			path := "/" + strings.TrimPrefix(name, d.url)
			_, _, body := curl(t, "-H", "Host: keys.localhost:"+c.env["HTTP"], c.url(path))
			bytes += len(body)
		}
		return bytes
	}
	for range 3 {
		d.do(chromedp.Navigate("about:blank"))
		d.page("#overview")
		d.wait("the tiles are shown", tiles)
		d.settle()
		paint := evaluate[float64](d.browser,
			`performance.getEntriesByName("first-contentful-paint")[0].startTime`)
		shown := evaluate[float64](d.browser, `performance.now()`)
		t.Logf("First Contentful Paint after %.0f ms, tiles shown after at most %.0f ms", paint, shown)
	}
	bytes := loaded()
	t.Logf("opening the overview loads files of %d bytes", bytes)
	if bytes > mostBytes || bytes < 30_000 {
		t.Errorf("the files have %d bytes, want at most %d", bytes, mostBytes)
	}
	for _, page := range []struct{ hash, says string }{
		{"#keys", "pipeline"}, {"#admin", "carol"}, {"#audit", "Command line"}, {"#settings", "Notifications"},
	} {
		begun := time.Now()
		d.page(page.hash)
		d.shows(page.says)
		t.Logf("%s is shown after %v", page.hash, time.Since(begun).Round(time.Millisecond))
	}
	d.press("New API key")
	d.fill("Name", "all parts")
	d.press("read list and watch")
	d.press("Create key")
	id := tokenID(d.secret())
	d.keep()
	d.page("#key/" + id)
	d.shows("Activity")
	d.menu("More actions", "Revoke")
	d.press("Cancel")
	t.Logf("all pages and dialogs together load files of %d bytes", loaded())
	d.quiet()
}
