package e2e

import (
	"slices"
	"strings"
	"testing"
)

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
		key := d.site.mint(map[string]any{"name": name, "preset": "read",
			"metadata": map[string]string{"owner": name, "tags": name, "note": name}})
		ids[name] = tokenID(key)
		d.ask(key)
	}
	d.signIn()
	// text checks that an element contains just the name, and that a right-to-left name doesn't
	// reorder the text around it.
	text := func(name, element string) {
		t.Helper()
		if got := evaluate[string](d.browser, element+`.textContent`); got != name {
			t.Errorf("the page shows %q as %q in %s", name, got, element)
		}
		if dir := evaluate[string](d.browser, element+`.closest("[dir]").dir`); dir != "auto" {
			t.Errorf("the name %q has dir attribute %q in %s", name, dir, element)
		}
	}
	d.shows("Busiest keys, last 7 days")
	for _, name := range evaluate[[]string](d.browser,
		`[...document.querySelectorAll(".busiest a")].map((link) => link.textContent)`) {
		if !slices.Contains(hostileNames, name) {
			t.Errorf("the overview shows the key %q", name)
		}
	}
	d.page("#keys")
	for _, name := range hostileNames {
		d.shows(name)
		text(name, row(name)+`.querySelector(".k-name a")`)
	}
	for _, name := range hostileNames {
		d.page("#key/" + ids[name])
		d.eventually("the page of "+name, func() bool {
			return evaluate[string](d.browser, `document.querySelector("h1")?.textContent ?? ""`) == name
		})
		text(name, `document.querySelector("h1")`)
		d.eventually("the title is "+name, func() bool {
			return evaluate[string](d.browser, `document.title`) == name+" · Mollygate"
		})
		d.menu("More actions", "Edit")
		d.shows("Edit key")
		d.checkDialog()
		for _, control := range []string{"name", "owner", "tags"} {
			if got := d.value(control); got != name {
				t.Errorf("the form shows %q as %q", name, got)
			}
		}
		d.fill("Name", name[:1])
		d.fill("Name", name)
		d.press("Cancel")
		d.gone()
		d.menu("More actions", "New key like this")
		d.shows("New API key")
		d.checkDialog()
		d.press("Cancel")
		d.gone()
		for _, action := range []string{"Revoke", "Delete", "Rotate", "Extend", "Edit tags"} {
			d.menu("More actions", action)
			d.shows("Cancel")
			d.checkDialog()
			heading := evaluate[string](d.browser, `document.querySelector("dialog h2").textContent`)
			if !strings.Contains(heading, `"`+name+`"`) {
				t.Errorf("%s: got heading %q", action, heading)
			}
			text(heading, `document.querySelector("dialog h2")`)
			d.press("Cancel")
			d.gone()
		}
		d.menu("More actions", "Disable")
		d.shows("Requests with this key will be refused")
		d.press("Disable")
		d.gone()
		text(`Disabled "`+name+`".`, `[...document.querySelectorAll(".note [dir]")].at(-1)`)
		d.press("Dismiss")
	}
	d.page("#audit")
	d.shows("Audit log")
	d.shows(hostileNames...)
	if title := evaluate[string](d.browser, `document.title`); title != "Audit log · Mollygate" {
		t.Errorf("got title %q", title)
	}
	if n := evaluate[int](d.browser, `document.querySelectorAll("main img, main script, dialog img").length`); n != 0 {
		t.Errorf("the names created %d HTML elements, want none", n)
	}
	d.quiet()
}
