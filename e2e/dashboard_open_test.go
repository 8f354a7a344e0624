package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestDashboardOpen signs in with a link from the command line. The link needs a click, works
// once, and leaves no trace in the address, the tab's history or the logs.
func TestDashboardOpen(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(browserSite, "\tapi_tokens_admin", "\tlog\n\tapi_tokens_admin", 1),
		mollymawktest.Options{})
	open := func() (link, code string) {
		t.Helper()
		out, errs, exit := s.run("api-token", "open")
		if exit != 0 {
			t.Fatalf("open: exit code %d: %s", exit, errs)
		}
		link = strings.TrimSpace(out)
		address, code, found := strings.Cut(link, "#signin=")
		if address != "http://keys.localhost:"+s.env["HTTP"]+"/" || !found || len(code) != 26 {
			t.Fatalf("got link %s", link)
		}
		return link, code
	}
	link, code := open()
	d := &dashboard{browser: newBrowser(t), site: s, url: strings.TrimSuffix(link, "#signin="+code)}
	d.open("about:blank")
	d.open(link)
	d.shows("Sign in to Mollygate", "This link signs you in")
	checkGone := func() {
		t.Helper()
		if address := evaluate[string](d.browser, `location.href`); strings.Contains(address, code) {
			t.Errorf("the address is %s", address)
		}
	}
	checkGone()
	d.press("Sign in")
	d.hides("Sign in to Mollygate")
	d.shows("Overview")
	checkGone()
	history, err := chromedp.Run(d.ctx, chromedp.NavigationEntries())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range history.Entries {
		if strings.Contains(entry.URL, code) {
			t.Errorf("the tab's history contains %s", entry.URL)
		}
	}
	d.open(d.url + "#audit")
	d.shows("created a sign-in link", "signed in with a link")

	// In a session, another link asks before it replaces the session.
	other, _ := open()
	d.open("about:blank")
	d.open(other)
	d.shows("You are signed in as caddy-admin.")
	d.press("Cancel")
	d.hides("This link signs you in")
	d.shows("Overview")

	// The first link can't be used by someone else.
	second := &dashboard{browser: newBrowser(t), site: s, url: d.url}
	second.open(link)
	second.shows("This link signs you in")
	second.press("Sign in")
	second.shows("This sign-in link has expired or was already used.", "Admin key")

	// All sessions from links can be ended.
	if _, errs, exit := s.run("api-token", "open", "--end"); exit != 0 {
		t.Fatalf("open --end: exit code %d: %s", exit, errs)
	}
	d.reload()
	d.shows("Sign in to Mollygate", "Admin key")
	for _, b := range []*browser{d.browser, second.browser} {
		b.checkQuiet("keys.localhost:" + s.env["HTTP"])
	}
	s.stop() // flushes the logs
	if !strings.Contains(s.output.String(), `"uri":"/api/v1/session"`) {
		t.Error("there is no access log, so this test checked nothing")
	}
	if strings.Contains(s.output.String(), code) {
		t.Error("the log contains the code")
	}
}
