package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestDashboardSignOutEverywhere checks that signing out everywhere ends all sessions of the
// admin key, in this browser and elsewhere.
func TestDashboardSignOutEverywhere(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	elsewhere := d.session()
	if status := d.withSession(elsewhere); status != http.StatusOK {
		t.Fatalf("the other session gets status %d", status)
	}
	d.menu("Your account", "Sign out everywhere")
	d.shows("Ends all your dashboard sessions")
	d.checkDialog()
	d.press("Sign out everywhere")
	d.shows("Sign in to Mollygate")
	if status := d.withSession(elsewhere); status != http.StatusUnauthorized {
		t.Errorf("the other session gets status %d", status)
	}
	d.signIn()
	d.shows("Get started")
	d.quiet()
}

// session signs in without the browser, and returns the session's cookie.
func (d *dashboard) session() string {
	d.t.Helper()
	status, header, body := curl(d.t, "-H", "Host: keys.localhost:"+d.site.env["HTTP"], "-H", jsonType, "-d",
		`{"token":"`+d.admin+`"}`, d.site.url("/api/v1/session"))
	if status != http.StatusOK && status != http.StatusCreated {
		d.t.Fatalf("signing in: status %d: %s", status, body)
	}
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	return cookie
}

// withSession calls the admin API with a session's cookie, and returns the response status.
func (d *dashboard) withSession(cookie string) int {
	d.t.Helper()
	status, _, _ := curl(d.t, "-H", "Host: keys.localhost:"+d.site.env["HTTP"], "-H", "Cookie: "+cookie,
		d.site.url("/api/v1/tokens"))
	return status
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
	s.waitForCertificates(secure)
	d := &dashboard{browser: newBrowser(t), site: s,
		url: "https://keys.localhost:" + s.env["HTTPS"] + "/", admin: s.token("--kind", "admin", "--name", "carol")}
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, security.SetIgnoreCertificateErrors,
			security.SetIgnoreCertificateErrorsParams{Ignore: true})
		return err
	}))
	d.allowClipboard()
	d.open(d.url)
	d.signIn()
	d.shows("Get started")
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
	d.press("read list and watch")
	d.press("Create key")
	key := d.secret()
	for range 3 { // sends real key events
		d.do(chromedp.KeyEvent(kb.Escape))
	}
	if d.secret() != key {
		t.Error("Esc closed the panel")
	}
	d.press("Copy")
	d.shows("Copied")
	if d.clipboard() != key {
		t.Error("the clipboard doesn't contain the key")
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
	hash, err := c.command("hash-password", "--bcrypt-cost", "4", "--plaintext", "secret").Output()
	if err != nil {
		t.Fatal(err)
	}
	c.env["HASH"] = strings.TrimSpace(string(hash))
	c.start(caddyfile)
	d := &dashboard{browser: newBrowser(t), site: &site{caddy: c, backend: backend},
		url: "http://keys.localhost:" + c.env["HTTP"] + "/keys"}
	d.open(strings.Replace(d.url, "//", "//dave:secret@", 1))
	d.shows("Get started", "dave")
	d.press("New API key")
	d.fill("Name", "below a path")
	d.press("read list and watch")
	d.press("Create key")
	key := d.secret()
	d.shows(c.url("/api/unikernels"))
	d.checkDialog()
	d.keep()
	d.open(d.url + "/#keys")
	d.cell("below a path", "status", "active")
	if status, _, body := curl(t, append(bearer(key), c.url("/api/unikernels"))...); status != http.StatusOK {
		t.Errorf("got status %d: %s", status, body)
	}
	d.openMenu("Your account")
	d.shows("Documentation")
	if strings.Contains(d.text(), "Sign out") || strings.Contains(d.text(), "Signed in until") {
		t.Error("a trusted user's menu has items about a session")
	}
	d.checkQuiet("keys.localhost:" + c.env["HTTP"])
}

// TestDashboardOffline checks that the dashboard says that it can't reach Caddy, and that it
// loses no input. A session doesn't outlive Caddy's process, so the user signs in again.
func TestDashboardOffline(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.shows("Get started")
	d.press("New API key")
	d.fill("Name", "kept")
	d.press("read list and watch")
	d.site.stop()
	d.press("Create key")
	d.shows("Can't reach the server. Nothing you entered is lost; try again.",
		"Can't reach the server. What you see may be out of date.")
	d.checkDialog()
	d.site.start(browserSite)
	d.press("Create key")
	d.shows("Your session has ended. Sign in to continue; nothing you entered is lost.")
	d.signIn()
	key := d.secret()
	d.answers(key, http.StatusOK)
	d.hides("Can't reach the server")
	d.keep()
	d.page("#keys")
	d.cell("kept", "usage", "1") // events arrive again
}
