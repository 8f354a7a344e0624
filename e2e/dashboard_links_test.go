package e2e

import (
	"strings"
	"testing"
)

// TestDashboardLinks: a link fills the form in with what can be seen there, and the form
// says so; an address with a name that every object has is no other page.
func TestDashboardLinks(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	for _, link := range []string{
		"#new?name=CI&kind=admin", "#new?name=CI&kind=admin&scope=*", "#new?kind=ADMIN&name=CI&scope=unikernel:*",
		"#new?name=CI&scope=*&scope=unikernel:list",
		"#new?name=CI&scope=%2A", "#new?name=CI&scope=unikernel:%2a&kind=%61dmin",
	} {
		d.open(d.url + "#keys")
		d.open(d.url + link)
		d.shows("Create API Key", "A link filled in this form", "Scopes")
		if kind := evaluate[string](d.browser,
			`[...document.querySelectorAll("dialog select")].map((s) => s.value).find((v) => v === "api" || v === "admin")`); kind != "api" {
			t.Errorf("%s: the kind is %s", link, kind)
		}
		want := strings.Count(link, "unikernel:list")
		if n := evaluate[int](d.browser,
			`document.querySelectorAll("dialog fieldset input:checked").length`); n != want {
			t.Errorf("%s: %d scopes are chosen, want %d", link, n, want)
		}
		d.press("Cancel")
	}
	d.press("New API Key")
	d.shows("Create API Key")
	if strings.Contains(d.text(), "A link filled in") {
		t.Error("nothing is filled in, and the form says so")
	}
	d.press("Cancel")
	for _, name := range []string{"constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "constructor/x",
		"toString?x", "nothing", ""} {
		d.open(d.url + "#audit")
		d.shows("Audit", "Changes")
		d.open(d.url + "#" + name)
		d.shows("API Keys (1)", "carol")
		if current := evaluate[string](d.browser,
			`document.querySelector("nav a[aria-current]")?.hash ?? ""`); current != "#keys" {
			t.Errorf("#%s: the current page is %q", name, current)
		}
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}
