package e2e

import (
	"strings"
	"testing"
)

// TestDashboardLinks checks that a link fills in only the form's visible fields, and that the
// form says a link filled them in. It also checks that a fragment that is also the name of a
// property of every JavaScript object shows the start page.
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
		d.shows("Create API key", "A link filled in this form", "Scopes")
		const kinds = `[...document.querySelectorAll("dialog select")].map((s) => s.value)`
		if kind := evaluate[string](d.browser,
			kinds+`.find((v) => v === "api" || v === "admin")`); kind != "api" {
			t.Errorf("%s: got kind %s", link, kind)
		}
		want := strings.Count(link, "unikernel:list")
		if n := evaluate[int](d.browser,
			`document.querySelectorAll("dialog fieldset input:checked").length`); n != want {
			t.Errorf("%s: %d scopes are selected, want %d", link, n, want)
		}
		d.press("Cancel")
	}
	d.press("New API key")
	d.shows("Create API key")
	if strings.Contains(d.text(), "A link filled in") {
		t.Error("the form claims that a link filled it in, but there was no link")
	}
	d.press("Cancel")
	for _, name := range []string{"constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "constructor/x",
		"toString?x", "nothing", ""} {
		d.open(d.url + "#audit")
		d.shows("Audit", "Changes")
		d.open(d.url + "#" + name)
		d.shows("API keys (1)", "carol")
		if current := evaluate[string](d.browser,
			`document.querySelector("nav a[aria-current]")?.hash ?? ""`); current != "#keys" {
			t.Errorf("#%s: got current page %q", name, current)
		}
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}
