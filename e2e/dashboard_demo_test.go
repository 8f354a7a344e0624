package e2e

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/mollygate/mollygate/internal/demo"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// demoSite is browserSite with access logs and with the accounts of the demo store.
var demoSite = strings.NewReplacer(
	"		account default {\n			upstream_token {env.UPSTREAM}\n		}\n", demoAccounts(),
	"	api_tokens_admin\n", "	log\n	api_tokens_admin\n",
	"	handle {\n", "	log\n	handle {\n",
).Replace(browserSite)

func demoAccounts() (accounts string) {
	for _, name := range demo.Accounts {
		accounts += "		account " + name + " {\n			upstream_token {env.UPSTREAM}\n"
		if name == "bob" {
			accounts += "			max_scopes read deploy block:*\n"
		}
		accounts += "		}\n"
	}
	return accounts
}

// demoDashboard is the dashboard of a site whose store has an invented history.
type demoDashboard struct {
	*dashboard
	keys map[string]demo.Key // by name
}

// openDemo opens the dashboard of a new demo site. Callers then sign in.
func openDemo(t *testing.T) *demoDashboard {
	t.Helper()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	upstream := backend.AddToken("alice", "gate", 24*time.Hour)
	c := newCaddy(t, map[string]string{"BACKEND": backend.Addr(), "UPSTREAM": upstream})
	store, err := bolt.Open(c.path("tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := demo.Fill(store, time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.start(demoSite)
	d := &demoDashboard{
		dashboard: &dashboard{browser: newBrowser(t), site: &site{caddy: c, backend: backend, upstream: upstream},
			url: "http://keys.localhost:" + c.env["HTTP"] + "/", admin: keys[0].Secret.Reveal()},
		keys: make(map[string]demo.Key),
	}
	for _, key := range keys {
		d.keys[key.Token.Name] = key
	}
	d.open(d.url)
	return d
}

// id returns the ID of the demo key with this name.
func (d *demoDashboard) id(name string) string {
	d.t.Helper()
	key, ok := d.keys[name]
	if !ok {
		d.t.Fatalf("the demo store has no key %q", name)
	}
	return key.Token.ID.String()
}

// key opens the page of the demo key with this name.
func (d *demoDashboard) key(name string) {
	d.t.Helper()
	d.page("#key/" + d.id(name))
	d.wait("the page of "+name, `document.querySelector("h1")?.textContent === `+quoteJS(name))
}

// listedToken is a token as the admin API returns it.
type listedToken struct {
	ID                 string
	Name               string
	Status             string
	Kind               string
	Account            *string
	Scopes             []string
	AllowedIPs         []string          `json:"allowed_ips"`
	Metadata           map[string]string `json:"metadata"`
	Hint               *string           `json:"token_hint"`
	UsageCount         int               `json:"usage_count"`
	DeniedCount        int               `json:"denied_count"`
	CreatedAt          time.Time         `json:"created_at"`
	ExpiresAt          *time.Time        `json:"expires_at"`
	PreviousValidUntil *time.Time        `json:"previous_valid_until"`
}

// read returns a response of the admin API.
func read[T any](d *dashboard, path string) (value T) {
	d.t.Helper()
	text := d.site.getAdmin("/api_tokens/v1/" + path)
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		d.t.Fatalf("%s: %v: %.200s", path, err, text)
	}
	return value
}

// count returns the number of tokens that the admin API finds with the parameters.
func (d *dashboard) count(parameters string) int {
	d.t.Helper()
	return read[struct{ Total int }](d, "tokens?limit=1&count=true&"+parameters).Total
}

// destroys reports whether the gate lets a key destroy unikernels. The request itself is
// invalid.
func (d *dashboard) destroys(key string) bool {
	d.t.Helper()
	status, _, body := curl(d.t, append(bearer(key), "-d", "{}", d.site.url("/api/unikernel/destroy"))...)
	return !strings.Contains(body, "insufficient_scope") && status != 401
}

// wait waits until an expression in the page is true.
func (d *dashboard) wait(what, expression string) {
	d.t.Helper()
	d.eventually(what, func() bool { return evaluate[bool](d.browser, expression) })
}

// words is an expression for the text of the first element that a selector finds.
func words(selector string) string {
	return `(document.querySelector(` + quoteJS(selector) + `)?.innerText ?? "")`
}

// click clicks the first element that a CSS selector finds, as soon as it is visible.
func (d *dashboard) click(selector string) {
	d.t.Helper()
	d.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// pick chooses a radio button outside dialogs by its value.
func (d *dashboard) pick(value string) {
	d.t.Helper()
	d.click(`.choice label:has([value="` + value + `"])`)
}

// hash returns the part of the address after the #, decoded.
func (d *dashboard) hash() string {
	d.t.Helper()
	hash, err := url.QueryUnescape(evaluate[string](d.browser, `location.hash.slice(1)`))
	if err != nil {
		d.t.Fatal(err)
	}
	return hash
}

// settle waits until the browser has drawn the page twice, so observers of sizes have run.
func (d *dashboard) settle() {
	d.t.Helper()
	d.do(chromedp.Evaluate[chromedp.Void](
		`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))`,
		chromedp.EvalAwaitPromise))
}

// download calls do, which makes the browser download a file, and returns the file's content.
func (d *dashboard) download(do func()) string {
	d.t.Helper()
	dir := d.t.TempDir()
	if _, err := chromedp.CallBrowser(d.ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: "allow", DownloadPath: dir, BrowserContextID: d.profile(),
	}); err != nil {
		d.t.Fatal(err)
	}
	do()
	var files []string
	d.eventually("the file is downloaded", func() bool {
		files, _ = filepath.Glob(filepath.Join(dir, "*"))
		return len(files) == 1 && !strings.HasSuffix(files[0], ".crdownload")
	})
	content, err := os.ReadFile(files[0])
	if err != nil {
		d.t.Fatal(err)
	}
	return string(content)
}

// sent records the requests of a page.
type sent struct {
	mu       sync.Mutex
	requests []*network.Request
}

// record records the page's requests from now on.
func (d *dashboard) record() *sent {
	d.t.Helper()
	s := new(sent)
	if err := chromedp.Listen(d.ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.requests = append(s.requests, e.Request)
		}
	}); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// all returns the recorded requests, as "GET URL BODY".
func (s *sent) all() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range s.requests {
		line := request.Method + " " + request.URL + " "
		for _, part := range request.PostDataEntries {
			if part.Bytes != nil {
				line += string(part.Bytes)
			}
		}
		all = append(all, line)
	}
	return all
}
