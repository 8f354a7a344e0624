package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// dashboard is a browser that shows a site's dashboard.
type dashboard struct {
	*browser
	site *site
	url  string
	// admin is the admin key used to sign in.
	admin string
}

func openDashboard(t *testing.T) *dashboard {
	t.Helper()
	s := startSite(t, browserSite, mollymawktest.Options{})
	d := &dashboard{browser: newBrowser(t), site: s, url: "http://keys.localhost:" + s.env["HTTP"] + "/",
		admin: s.token("--kind", "admin", "--name", "carol")}
	d.open(d.url)
	return d
}

func (d *dashboard) signIn() {
	d.t.Helper()
	d.shows("Sign in")
	d.fill("Admin key", d.admin)
	d.press("Sign in")
	d.hides("Admin key")
}

// act selects an action from a key's menu.
func (d *dashboard) act(name, action string) {
	d.t.Helper()
	row := `[...document.querySelectorAll("tr")].find((row) => row.querySelector(".name")?.textContent === ` +
		quoteJS(name) + `)`
	d.eventually(name+" is in the list", func() bool { return evaluate[bool](d.browser, row+` !== undefined`) })
	d.script(row + `.querySelector("summary").click()`)
	d.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//details[@open]//button[normalize-space()=%q]`, action)),
		chromedp.NodeVisible))
}

func quoteJS(s string) string {
	return "`" + strings.NewReplacer("`", "\\`", "\\", "\\\\", "$", "\\$").Replace(s) + "`"
}

// ask calls the backend with a key and returns the response status.
func (d *dashboard) ask(key string) int {
	d.t.Helper()
	status, _, _ := curl(d.t, append(bearer(key), d.site.url("/api/unikernels"))...)
	return status
}

// secret returns the secret shown in the dialog.
func (d *dashboard) secret() string {
	d.t.Helper()
	d.shows("You won't be able to see it again.")
	return evaluate[string](d.browser, `document.querySelector("dialog .secret").value`)
}

// keep confirms in the dialog that the secret was saved, and closes it.
func (d *dashboard) keep() {
	d.t.Helper()
	d.script(`[...document.querySelectorAll("dialog label")]` +
		`.find((label) => label.textContent.includes("I've saved it")).querySelector("input").click()`)
	d.press("Done")
}

// TestDashboardKeyLifecycle creates, uses, edits, rotates, disables, enables, revokes and
// deletes a key through the dashboard.
func TestDashboardKeyLifecycle(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.shows("Sign in", "Admin key")
	d.fill("Admin key", "mma_nonsense")
	d.press("Sign in")
	d.shows("That isn't a valid admin key")
	d.signIn()
	d.shows("API keys (1)", "carol", "New API key")

	d.press("New API key")
	d.shows("Create API key", "Expires")
	d.press("Create key")
	d.shows("is required: say what the token is for")
	d.fill("Name", "CI")
	d.choose("Expires", "1mo")
	d.press("read")
	d.press("Create key")
	key := d.secret()
	d.shows("API key created", "curl --header")
	if !strings.HasPrefix(key, "mmk_") || strings.Contains(d.text(), key) {
		t.Errorf("the key has %d characters, or the page text contains the key", len(key))
	}
	// Neither Esc nor Back discards the key.
	d.script(`document.querySelector("dialog").dispatchEvent(new Event("cancel", {cancelable: true}))`)
	d.script(`history.back()`)
	d.shows("Copy the key before you close this.")
	if again := d.secret(); again != key {
		t.Error("the page no longer shows the key")
	}
	d.keep()
	d.hides("You won't be able to see it again.")
	d.shows("API keys (2)", "never used")
	if d.ask(key) != http.StatusOK {
		t.Error("the new key doesn't work")
	}
	d.hides("CI\nnever used") // the list refreshes within seconds
	d.eventually("its chart is drawn", func() bool {
		return evaluate[int](d.browser,
			`document.querySelectorAll("svg[aria-label='Last 30 days: 1 allowed, 0 refused']").length`) == 1
	})

	d.act("CI", "Edit key")
	d.shows("Edit API key")
	d.fill("Name", "Shop CI")
	d.press("Update key")
	d.shows(`Updated "Shop CI".`)

	d.act("Shop CI", "Rotate")
	d.shows("Create a new secret for this key?", "This key was last used", "from 127.0.0.1")
	d.press("Rotate key")
	rotated := d.secret()
	if rotated == key || d.ask(key) != http.StatusOK || d.ask(rotated) != http.StatusOK {
		t.Error("after a rotation, the old or new secret doesn't work, or both are the same")
	}
	d.keep()
	d.shows("rotating")
	// The key's page and the dialog for another rotation show when the old secret was last
	// used.
	d.open(d.url + "#key/" + tokenID(key))
	d.shows("Old secret last used", "by curl/")
	d.open(d.url + "#keys")
	d.shows("API keys (2)")
	d.act("Shop CI", "Rotate")
	d.shows("The secret from before the last rotation stops working immediately. Last used:", "from 127.0.0.1 by curl/")
	d.press("Cancel")

	for _, step := range []struct {
		action, confirm, says string
		status                int
	}{
		{"Disable", "Disable key", `Disabled "Shop CI".`, http.StatusUnauthorized},
		{"Enable", "", `Enabled "Shop CI".`, http.StatusOK},
		{"Revoke", "Revoke key", `Revoked "Shop CI".`, http.StatusUnauthorized},
		{"Delete", "Delete key", `Deleted "Shop CI".`, http.StatusUnauthorized},
	} {
		d.act("Shop CI", step.action)
		if step.confirm != "" {
			d.shows("This key was last used")
			d.press(step.confirm)
		}
		d.shows(step.says)
		if got := d.ask(rotated); got != step.status {
			t.Errorf("after %s: status %d, want %d", step.action, got, step.status)
		}
	}
	d.shows("API keys (1)")
	d.press("Sign out")
	d.shows("Sign in")
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
	d.site.checkLogs(key, rotated, d.admin)
}

// hostileNames are names that the page must treat as plain text.
var hostileNames = []string{
	`<img src=x onerror="document.title='pwned'">`, `"><script>document.title='pwned'</script>`, "javascript:alert(1)",
	"{{7*7}}${7*7}", "שלום עולם", "مفتاح", strings.Repeat("W", 100),
}

// TestDashboardHostileNames checks that hostile names are shown as text everywhere.
func TestDashboardHostileNames(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	ids := make(map[string]string)
	for _, name := range hostileNames {
		ids[name] = tokenID(d.site.token("--name", name, "--preset", "read"))
	}
	d.signIn()
	d.shows(hostileNames...)
	for _, name := range hostileNames {
		d.open(d.url + "#key/" + ids[name])
		d.shows(name, "Why was this refused?")
		if got := evaluate[string](d.browser, `document.querySelector("h1").textContent`); got != name {
			t.Errorf("the page shows %q as %q", name, got)
		}
		// A right-to-left name must not reorder the surrounding text.
		if dir := evaluate[string](d.browser, `document.querySelector("h1").dir`); dir != "auto" {
			t.Errorf("the name %q has dir attribute %q", name, dir)
		}
	}
	d.open(d.url + "#audit")
	d.shows(hostileNames...)
	if title := evaluate[string](d.browser, `document.title`); title == "pwned" {
		t.Error("the browser ran a name as a script")
	}
	if n := evaluate[int](d.browser, `document.querySelectorAll("main img, main script").length`); n != 0 {
		t.Errorf("the names created %d HTML elements, want none", n)
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}

// TestDashboardTabs checks that a change in one tab shows up in another, and that after a
// session ends, the dashboard asks users to sign in again without losing what they typed.
func TestDashboardTabs(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.shows("API keys (1)")
	other := &dashboard{browser: d.tab(), site: d.site, url: d.url, admin: d.admin}
	other.open(d.url)
	other.shows("API keys (1)")
	key := d.site.token("--name", "made elsewhere", "--preset", "read")
	other.shows("API keys (2)", "made elsewhere")

	d.open(d.url + "#new?name=Release&preset=deploy&expires_in=6mo")
	d.shows("Create API key")
	if got := evaluate[string](d.browser, `document.querySelector("dialog input").value`); got != "Release" {
		t.Errorf("got name %q", got)
	}
	if got := evaluate[string](d.browser,
		`document.querySelector("dialog [aria-pressed=true]").textContent`); got != "deploy" {
		t.Errorf("got preset %q", got)
	}
	// Another tab signs out.
	other.press("Sign out")
	other.shows("Sign in")
	d.press("Create key")
	d.shows("Sign in")
	if n := evaluate[int](d.browser, `document.querySelectorAll("dialog[open]").length`); n != 2 {
		t.Errorf("%d open dialogs, want the sign-in above the form", n)
	}
	d.fill("Admin key", d.admin)
	d.press("Sign in")
	release := d.secret()
	if d.ask(release) != http.StatusOK || d.ask(key) != http.StatusOK {
		t.Error("a key doesn't work")
	}
	var made struct{ Scopes []string }
	if err := json.Unmarshal([]byte(d.site.getAdmin("/api_tokens/v1/tokens/"+tokenID(release))), &made); err != nil ||
		len(made.Scopes) < 2 {
		t.Errorf("the key has scopes %q, %v", made.Scopes, err)
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}

// TestDashboardKeyPage checks that a key's page shows how the key was used, removes unused
// scopes, and explains refusals.
func TestDashboardKeyPage(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	key := d.site.token("--name", "CI", "--preset", "deploy", "--allowed-ip", "127.0.0.0/8", "--rate-limit", "100/1m")
	for range 3 {
		d.ask(key)
	}
	curl(t, append(bearer(key), d.site.url("/api/unikernel/monitoring/status"))...)
	d.open(d.url + "#key/" + tokenID(key))
	d.signIn()
	d.shows("CI", "100 requests per minute", "unikernel:list", "insufficient_scope", "127.0.0.0/8",
		"Unused scopes (last 90 days)")
	if got := evaluate[string](d.browser, `document.querySelector("section svg").getAttribute("aria-label")`); got !=
		"Daily, last 90 days: 3 allowed, 1 refused" {
		t.Errorf("got chart %q", got)
	}
	d.press("Hourly, last 7 days")
	d.shows("unikernel:list")
	d.fill("Path", "/api/unikernel/monitoring/status")
	d.fill("From IP address", "192.0.2.1")
	d.press("Explain")
	d.shows("Refused — 403: ip denied.", "This API key lacks the scope monitoring:read.")
	d.press("Remove 5 unused scopes")
	d.shows("All scopes were used.", "edit")
	var token struct{ Scopes []string }
	if err := json.Unmarshal([]byte(d.site.getAdmin("/api_tokens/v1/tokens/"+tokenID(key))), &token); err != nil ||
		fmt.Sprint(token.Scopes) != "[unikernel:list]" {
		t.Errorf("the key has scopes %q, %v", token.Scopes, err)
	}
	d.open(d.url + "#key/000000000000")
	d.shows("No token", "Try again")
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}

// TestDashboardManyKeys checks that search, sorting and paging work with 10,000 keys, using
// both mouse and keyboard.
func TestDashboardManyKeys(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	const many = 10_000
	var made atomic.Int64
	var makers sync.WaitGroup
	for range 100 { // in parallel, so that the calls share store commits
		makers.Go(func() {
			for n := made.Add(1); n <= many; n = made.Add(1) {
				body := fmt.Sprintf(`{"name":"pipeline %05d","preset":"read","expires_in":"90d"}`, n)
				response, err := d.site.admin().Post("http://caddy/api_tokens/v1/tokens", "application/json",
					strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				_ = response.Body.Close()
				if response.StatusCode != http.StatusCreated {
					t.Errorf("got status %d", response.StatusCode)
					return
				}
			}
		})
	}
	makers.Wait()
	d.signIn()
	d.shows("API keys (10001)", "Page 1 of 201")
	// timed logs how long the page takes to show the text after calling do.
	timed := func(what, says string, do func()) {
		t.Helper()
		begun := time.Now()
		do()
		d.shows(says)
		t.Logf("%s: %v", what, time.Since(begun).Round(time.Millisecond))
	}
	first := func() string { return evaluate[string](d.browser, `document.querySelector("tbody .name").textContent`) }
	timed("sorting", "Page 1 of 201", func() {
		d.press("Name")
		d.eventually("the keys are sorted by name", func() bool { return first() == "carol" })
	})
	timed("sorting with the keyboard", "Page 1 of 201", func() {
		d.do(chromedp.KeyEvent(kb.Enter)) // the heading still has focus
		d.eventually("the sort order is reversed", func() bool { return first() == "pipeline 10000" })
	})
	if got := evaluate[string](d.browser,
		`document.querySelector("th[aria-sort=descending]").textContent`); got != "Name" {
		t.Errorf("got sort column %q", got)
	}
	timed("the next page", "Page 2 of 201", func() { d.press("Next") })
	if got := first(); got != "pipeline 09950" {
		t.Errorf("the first key on the second page is %q", got)
	}
	timed("the previous page", "Page 1 of 201", func() { d.press("Previous") })
	timed("searching", "API keys (1)", func() {
		d.do(chromedp.SendKeys(chromedp.CSS("input[type=search]"), "line 07777"))
	})
	if got := first(); got != "pipeline 07777" {
		t.Errorf("found %q", got)
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}

func (d *dashboard) eventually(what string, condition func() bool) {
	d.t.Helper()
	eventually(d.t, what, condition, d.browser)
}

// TestDashboardOverTLS checks that the session cookie is bound to its host, and that users
// can't dismiss the panel with Esc and can close it only after copying the key.
func TestDashboardOverTLS(t *testing.T) {
	t.Parallel()
	secure := strings.Replace(browserSite, "http://keys.localhost:{$HTTP} {\n\tapi_tokens_admin\n}",
		`https://keys.localhost:{$HTTPS} {
	tls internal
	api_tokens_admin
}`, 1)
	s := startSite(t, secure, mollymawktest.Options{})
	d := &dashboard{browser: newBrowser(t, chromedp.IgnoreCertErrors), site: s,
		url: "https://keys.localhost:" + s.env["HTTPS"] + "/", admin: s.token("--kind", "admin", "--name", "carol")}
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(d.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: "granted",
		}); err != nil {
			t.Fatal(err)
		}
	}
	d.open(d.url)
	d.signIn()
	d.shows("API keys (1)")
	cookies, err := chromedp.Run(d.ctx, func(ctx context.Context, tab *chromedp.Target) ([]*network.Cookie, error) {
		got, err := cdp.Call(ctx, tab, network.GetCookies, network.GetCookiesParams{})
		return got.Cookies, err
	})
	if err != nil || len(cookies) != 1 || cookies[0].Name != "__Host-mollygate_session" || !cookies[0].Secure ||
		!cookies[0].HTTPOnly || cookies[0].SameSite != "Strict" || cookies[0].Path != "/" {
		t.Errorf("got %d cookies or wrong attributes, error %v", len(cookies), err)
	}
	// Mollymawk's API requires a token; the gate doesn't accept a dashboard session instead.
	cookie := []string{"--insecure", "-H", "Cookie: a=b; " + cookies[0].Name + "=" + cookies[0].Value, "-H",
		"Content-Type: application/json"}
	if status, _, body := curl(t,
		append(cookie, "-d", "{}", d.url+"api/tokens/create")...); status != http.StatusUnauthorized {
		t.Errorf("got status %d: %s", status, body)
	}
	d.press("New API key")
	d.fill("Name", "copied")
	d.press("read")
	d.press("Create key")
	key := d.secret()
	for range 3 { // sends real key events
		d.do(chromedp.KeyEvent(kb.Escape))
	}
	if d.secret() != key {
		t.Error("Esc closed the panel")
	}
	d.press("Copy")
	d.shows("Copied.")
	copied, err := chromedp.Run(d.ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`,
		chromedp.EvalAwaitPromise))
	if err != nil || copied != key {
		t.Errorf("the clipboard doesn't contain the key: %v", err)
	}
	d.press("Done")
	d.hides("You won't be able to see it again.")
	d.checkQuiet("keys.localhost:" + s.env["HTTPS"])
}

// TestSessionCookieNotForwarded checks that the dashboard's cookie never reaches the backend.
func TestSessionCookieNotForwarded(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tbrowser_sessions molly_session", 1), mollymawktest.Options{})
	curl(t, "-H", "Cookie: mollygate_session=secret1; molly_session=x; __Host-mollygate_session=secret2",
		s.url("/dashboard"))
	requests := s.backend.Requests()
	if len(requests) != 1 {
		t.Fatalf("the backend saw %d requests", len(requests))
	}
	if got := strings.Join(requests[0].Values("Cookie"), "|"); got != "molly_session=x" {
		t.Errorf("the backend got cookies %q, want none", got)
	}
}

// TestDashboardUnderPath serves the dashboard under a path to a trusted user, who doesn't need
// to sign in.
func TestDashboardUnderPath(t *testing.T) {
	t.Parallel()
	caddyfile := strings.Replace(browserSite, "http://keys.localhost:{$HTTP} {\n\tapi_tokens_admin\n}",
		`http://keys.localhost:{$HTTP} {
	redir /keys /keys/
	handle_path /keys/* {
		basic_auth {
			dave {$HASH}
		}
		api_tokens_admin {
			trust_user dave
		}
	}
}`, 1)
	backend := mollymawktest.New(t, mollymawktest.Options{})
	c := newCaddy(t,
		map[string]string{"BACKEND": backend.Addr(), "UPSTREAM": backend.AddToken("alice", "gate", 24*time.Hour)})
	hash, err := c.command("hash-password", "--plaintext", "secret").Output()
	if err != nil {
		t.Fatal(err)
	}
	c.env["HASH"] = strings.TrimSpace(string(hash))
	c.start(caddyfile)
	d := &dashboard{browser: newBrowser(t), site: &site{caddy: c, backend: backend},
		url: "http://keys.localhost:" + c.env["HTTP"] + "/keys"}
	d.open(strings.Replace(d.url, "//", "//dave:secret@", 1))
	d.shows("API keys (0)", "dave", "No API keys yet.")
	d.press("New API key")
	d.fill("Name", "below a path")
	d.press("read")
	d.press("Create key")
	key := d.secret()
	d.shows("http://keys.localhost:" + c.env["HTTP"] + "/api/unikernels")
	d.keep()
	d.shows("API keys (1)")
	if status, _, body := curl(t, append(bearer(key), c.url("/api/unikernels"))...); status != http.StatusOK {
		t.Errorf("got status %d: %s", status, body)
	}
	if strings.Contains(d.text(), "Sign out") {
		t.Error(`a trusted user sees "Sign out"`)
	}
	d.checkQuiet("keys.localhost:" + c.env["HTTP"])
}

// TestDashboardOffline checks that the dashboard tells users when it can't reach Caddy, and
// that it loses no input.
func TestDashboardOffline(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.shows("API keys (1)")
	d.press("New API key")
	d.fill("Name", "kept")
	d.press("read")
	d.site.stop()
	d.press("Create key")
	d.shows("Can't reach the server. Nothing you entered is lost")
	d.site.start(browserSite)
	d.press("Create key")
	d.shows("Sign in") // sessions don't outlive the process
	d.fill("Admin key", d.admin)
	d.press("Sign in")
	if d.ask(d.secret()) != http.StatusOK {
		t.Error("the key doesn't work")
	}
}
