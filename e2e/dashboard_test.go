package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

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
	return openDashboardOf(t, browserSite)
}

// openDashboardOf opens the dashboard of a site whose Caddyfile is a variant of browserSite.
func openDashboardOf(t *testing.T, caddyfile string) *dashboard {
	t.Helper()
	s := startSite(t, caddyfile, mollymawktest.Options{})
	d := &dashboard{browser: newBrowser(t), site: s, url: "http://keys.localhost:" + s.env["HTTP"] + "/",
		admin: s.token("--kind", "admin", "--name", "carol")}
	d.open(d.url)
	return d
}

// signIn enters the admin key in the topmost dialog, and waits until that dialog is closed.
func (d *dashboard) signIn() {
	d.t.Helper()
	d.shows("Sign in to Mollygate")
	d.checkDialog()
	d.fill("Admin key", d.admin)
	d.press("Sign in")
	d.hides("Sign in to Mollygate")
}

// page opens a page of the dashboard, such as "#keys".
func (d *dashboard) page(hash string) {
	d.t.Helper()
	d.open(d.url + hash)
}

// row is an expression for a key's row in the list, or undefined.
func row(name string) string {
	return `[...document.querySelectorAll("tr, li")].find((row) => row.querySelector(".k-name a")?.title === ` +
		quoteJS(name) + `)`
}

// act selects an action from the menu in a key's row.
func (d *dashboard) act(name, action string) {
	d.t.Helper()
	d.eventually(name+" is in the list", func() bool { return evaluate[bool](d.browser, row(name)+` !== undefined`) })
	d.script(row(name) + `.querySelector("button[aria-haspopup=menu]").click()`)
	d.choice(action)
}

// openMenu opens the menu of the button whose text or aria-label starts with the given text.
func (d *dashboard) openMenu(button string) {
	d.t.Helper()
	const menu = `//button[@aria-haspopup="menu"][starts-with(normalize-space(),%q) or starts-with(@aria-label,%[1]q)]`
	d.do(chromedp.Click(chromedp.Search(fmt.Sprintf(menu, button)), chromedp.NodeVisible))
}

// menu selects an item from the menu that openMenu opens.
func (d *dashboard) menu(button, item string) {
	d.t.Helper()
	d.openMenu(button)
	d.choice(item)
}

// choice clicks an item of the open menu.
func (d *dashboard) choice(item string) {
	d.t.Helper()
	d.do(chromedp.Click(chromedp.Search(
		fmt.Sprintf(`//*[@role="menu"]//*[starts-with(@role,"menuitem")][normalize-space()=%q]`, item)),
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
	d.shows("Copy your key now. You won't be able to see it again.")
	return evaluate[string](d.browser, `[...document.querySelectorAll("dialog[open] input.secret")].at(-1).value`)
}

// keep confirms in the dialog that the secret was saved, and closes it.
func (d *dashboard) keep() {
	d.t.Helper()
	d.check("I've saved it")
	d.press("Done")
	d.hides("You won't be able to see it again.")
}

// check clicks the checkbox or radio button in the topmost dialog whose label starts with text.
func (d *dashboard) check(text string) {
	d.t.Helper()
	label := fmt.Sprintf(`(//dialog[@open])[last()]//label[starts-with(normalize-space(),%q)]`, text)
	d.do(chromedp.Click(chromedp.Search(label), chromedp.NodeVisible))
}

// set replaces the value of the control with the given name in the topmost dialog, such as a
// date, which can't be typed key by key in every locale.
func (d *dashboard) set(name, value string) {
	d.t.Helper()
	control := `[...document.querySelectorAll("dialog[open] [name=` + name + `]")].at(-1)`
	d.eventually("the dialog has a control "+name,
		func() bool { return evaluate[bool](d.browser, control+` !== undefined`) })
	d.script(fmt.Sprintf(`{const control = %s; control.value = %s;
		control.dispatchEvent(new Event("input", {bubbles: true}))}`, control, quoteJS(value)))
}

// value returns the value of the control with the given name in the topmost dialog.
func (d *dashboard) value(name string) string {
	d.t.Helper()
	return evaluate[string](d.browser,
		`[...document.querySelectorAll("dialog[open] [name=`+name+`]")].at(-1)?.value ?? ""`)
}

// errors returns the errors that the topmost dialog shows at its fields, by the fields' labels.
func (d *dashboard) errors() map[string]string {
	d.t.Helper()
	return evaluate[map[string]string](d.browser, `Object.fromEntries(
		[...[...document.querySelectorAll("dialog[open]")].at(-1).querySelectorAll(".field > .error")].map((error) =>
			[error.parentElement.querySelector("label, legend").firstChild.textContent.trim(), error.textContent]))`)
}

// selected returns the values of the checked boxes in the topmost dialog, such as scopes.
func (d *dashboard) selected() []string {
	d.t.Helper()
	return evaluate[[]string](d.browser, `[...[...document.querySelectorAll("dialog[open]")].at(-1).querySelectorAll(
		"fieldset.scopes input:checked")].map((box) => box.value).filter((value) => !value.endsWith("*"))`)
}

// dialogs returns the number of open dialogs.
func (d *dashboard) dialogs() int {
	d.t.Helper()
	return evaluate[int](d.browser, `document.querySelectorAll("dialog[open]").length`)
}

// checkDialog checks that nothing in the topmost dialog is wider than the dialog and that its
// main button is within the window, in a wide and in a narrow window.
func (d *dashboard) checkDialog() {
	d.t.Helper()
	const faults = `(() => {
		const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
		if (!dialog) return "no dialog is open";
		for (const part of [dialog, ...dialog.querySelectorAll(".content, footer, header")])
			if (part.scrollWidth > part.clientWidth)
				return part.localName + part.className + " is " + part.scrollWidth + " pixels wide";
		const button = dialog.querySelector("footer button.primary, footer button[type=submit]") ??
			dialog.querySelector("footer button:last-of-type");
		const {left, top, right, bottom} = button.getBoundingClientRect();
		return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight
			? button.textContent.trim() + " is outside the window: " + [left, top, right, bottom] : "";
	})()`
	for _, size := range [][2]int64{{360, 640}, {1280, 900}} {
		d.do(chromedp.EmulateViewport(size[0], size[1]))
		if fault := evaluate[string](d.browser, faults); fault != "" {
			d.t.Errorf("in a window of %d × %d: %s\n%s", size[0], size[1], fault, d.text())
		}
	}
}

func (d *dashboard) eventually(what string, condition func() bool) {
	d.t.Helper()
	eventually(d.t, what, condition, d.browser)
}

// quiet checks that the page ran into no errors and sent requests only to its own server.
func (d *dashboard) quiet() {
	d.t.Helper()
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}

// TestDashboardKeyLifecycle signs in, and creates, uses, edits, rotates, disables, enables,
// revokes and deletes a key through the dashboard.
func TestDashboardKeyLifecycle(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.shows("Sign in to Mollygate", "caddy api-token open")
	d.press("Sign in")
	d.shows("Enter your admin key.")
	d.fill("Admin key", "mma_nonsense")
	d.press("Sign in")
	d.shows("That isn't a valid admin key")
	d.checkDialog()
	d.signIn()
	d.shows("Get started", "1. Create an API key", "carol")
	d.script(`window.sameDocument = true`)

	d.press("New API key")
	d.shows("What is the key for?", "Expires")
	d.press("Create key")
	d.eventually("both errors are shown", func() bool { return len(d.errors()) == 2 })
	if got := d.errors(); got["Name"] != "Enter a name, such as GitHub CI." ||
		got["Scopes"] != "Choose at least one scope." {
		t.Errorf("got errors %q", got)
	}
	if focus := evaluate[string](d.browser, `document.activeElement.name`); focus != "name" {
		t.Errorf("the focus is on %q, want the first wrong field", focus)
	}
	d.checkDialog()
	d.fill("Name", "CI")
	d.eventually("the name's error disappears", func() bool { return len(d.errors()) == 1 })
	d.press("read list and watch")
	d.eventually("no error is left", func() bool { return len(d.errors()) == 0 })
	d.choose("Expires", "1mo")
	d.press("Create key")
	key := d.secret()
	d.shows("Key created", "Waiting for the first request…")
	d.checkDialog()
	if d.ask(key) != http.StatusOK {
		t.Error("the new key doesn't work")
	}
	d.shows("First request: GET /api/unikernels from 127.0.0.1")
	d.checkDialog()
	d.keep()
	d.hides("Get started") // the overview has its first request

	d.do(chromedp.Click(chromedp.CSS(`nav.pages a[href="#keys"]`)))
	d.cell("CI", "usage", "1")
	d.cell("CI", "last", "127.0.0.1")
	if d.ask(key) != http.StatusOK {
		t.Error("the key doesn't work twice")
	}
	d.cell("CI", "usage", "2")
	d.eventually("its chart is drawn", func() bool {
		return evaluate[int](d.browser,
			`document.querySelectorAll("[aria-label='Last 30 days: 2 allowed, 0 refused']").length`) == 1
	})

	d.act("CI", "Edit")
	d.shows("Edit key")
	d.checkDialog()
	d.fill("Name", "Shop CI")
	d.press("Save changes")
	d.shows(`Updated "Shop CI".`)
	d.cell("Shop CI", "name", "Shop CI")

	rotated := d.rotate(key)

	d.page("#keys")
	d.act("Shop CI", "Disable")
	d.shows(`Disable "Shop CI"?`, "until you enable it again", "Last used", "from 127.0.0.1 by curl/",
		"This key was used within the last hour.")
	d.checkDialog()
	d.press("Disable")
	d.shows(`Disabled "Shop CI".`)
	d.answers(rotated, http.StatusUnauthorized)
	d.press("Undo")
	d.shows(`Restored "Shop CI".`)
	d.answers(rotated, http.StatusOK)
	for _, step := range []struct {
		action, confirm, says string
		status                int
	}{
		{"Disable", "Requests with this key will be refused until", `Disabled "Shop CI".`, http.StatusUnauthorized},
		{"Enable", "", `Enabled "Shop CI".`, http.StatusOK},
		{"Revoke", "This can't be undone.", `Revoked "Shop CI".`, http.StatusUnauthorized},
		{"Delete", "Permanently deletes the key", `Deleted "Shop CI".`, http.StatusUnauthorized},
	} {
		d.act("Shop CI", step.action)
		if step.confirm != "" {
			d.shows(step.confirm, "Last used")
			d.checkDialog()
			d.press(step.action)
		}
		d.shows(step.says)
		d.answers(rotated, step.status)
	}
	d.shows("No API keys yet")
	if !evaluate[bool](d.browser, `window.sameDocument === true`) {
		t.Error("the page was loaded again")
	}
	d.menu("Your account", "Sign out")
	d.shows("Sign in to Mollygate")
	d.hides("No API keys yet")
	d.quiet()
	d.site.checkLogs(key, rotated, d.admin)
}

// rotate rotates the key "Shop CI" with an overlap, hands it over on its page, and rotates it
// without an overlap. It returns the last secret.
func (d *dashboard) rotate(key string) string {
	d.t.Helper()
	d.act("Shop CI", "Rotate")
	d.shows("Create a new secret for this key? ID and scopes stay the same.",
		"Keep the old secret working for", "24 hours", "Last used", "from 127.0.0.1 by curl/")
	d.checkDialog()
	if n := evaluate[int](d.browser, `[...document.querySelectorAll("dialog .terms:first-of-type label")]
		.filter((label) => /\d{4}, \d\d:\d\d$/.test(label.textContent)).length`); n != 4 {
		d.t.Errorf("%d overlaps have a date, want 4", n)
	}
	d.press("Rotate")
	rotated := d.secret()
	d.shows(`New secret for "Shop CI"`, "The old secret works until")
	d.checkDialog()
	if rotated == key {
		d.t.Error("the rotation didn't change the secret")
	}
	d.keep()
	d.cell("Shop CI", "status", "rotating")
	d.do(chromedp.Click(chromedp.CSS(`.k-name a[href="#key/` + tokenID(key) + `"]`)))
	d.shows("Rotation in progress", "Nobody has used it since the rotation.")
	d.answers(key, http.StatusOK)
	d.answers(rotated, http.StatusOK)
	d.shows("The old secret was last used", "from 127.0.0.1 (curl/", "Give this client the new secret.")
	until := d.overlap(key)
	const shown = `document.querySelector("section.stack b").textContent`
	before := evaluate[string](d.browser, shown)
	d.press("Extend by 1 day")
	d.eventually("the page shows a later end", func() bool { return evaluate[string](d.browser, shown) != before })
	if end := d.overlap(key); end.Sub(until) != 24*time.Hour {
		d.t.Errorf("the overlap ends %s later, want a day", end.Sub(until))
	}
	d.press("Undo")
	d.eventually("the page shows the former end", func() bool { return evaluate[string](d.browser, shown) == before })
	if got := d.overlap(key); !got.Equal(until) {
		d.t.Errorf("the overlap ends at %s, want %s", got, until)
	}
	d.press("Stop old secret now")
	d.shows("Stop the old secret now?", "The old secret was last used")
	d.checkDialog()
	d.do(chromedp.Click(d.byText("button", "Stop old secret now"), chromedp.NodeVisible))
	d.shows(`The old secret of "Shop CI" has stopped working.`)
	d.hides("Rotation in progress")
	d.answers(key, http.StatusUnauthorized)
	d.answers(rotated, http.StatusOK)

	d.press("Rotate")
	d.shows("Create a new secret for this key?")
	d.check("Stop it now")
	d.press("Rotate")
	last := d.secret()
	d.checkDialog()
	if strings.Contains(d.text(), "The old secret works until") {
		d.t.Error("the panel says that the old secret still works")
	}
	d.answers(rotated, http.StatusUnauthorized)
	d.answers(last, http.StatusOK)
	d.keep()
	d.site.checkLogs(rotated)
	return last
}

// overlap returns the end of the overlap of a key's rotation.
func (d *dashboard) overlap(key string) time.Time {
	d.t.Helper()
	return d.token(tokenID(key)).PreviousValidUntil
}

// answers checks the response status of a request with a key.
func (d *dashboard) answers(key string, want int) {
	d.t.Helper()
	if got := d.ask(key); got != want {
		d.t.Errorf("got status %d, want %d", got, want)
	}
}

// cell waits until a cell of a key's row starts with text.
func (d *dashboard) cell(name, column, text string) {
	d.t.Helper()
	content := row(name) + `?.querySelector(".k-` + column + `")?.innerText ?? ""`
	d.eventually(fmt.Sprintf("column %s of %s contains %s", column, name, text),
		func() bool { return strings.Contains(evaluate[string](d.browser, content), text) })
}

// shownToken is a token as the admin API returns it.
type shownToken struct {
	ID, Name, Kind, Account, Status string
	Scopes, Resources               []string
	AllowedIPs                      []string  `json:"allowed_ips"`
	CreatedAt                       time.Time `json:"created_at"`
	ExpiresAt                       time.Time `json:"expires_at"`
	NotBefore                       time.Time `json:"not_before"`
	PreviousValidUntil              time.Time `json:"previous_valid_until"`
	Metadata                        map[string]string
	RateLimit                       json.RawMessage `json:"rate_limit"`
	Quota                           json.RawMessage
}

// token returns a token from the admin API.
func (d *dashboard) token(id string) (token shownToken) {
	d.t.Helper()
	d.site.decode(d.site.caddy.call(http.MethodGet, "tokens/"+id, nil, http.StatusOK), &token)
	return token
}

// tokens returns the API keys, newest first.
func (d *dashboard) tokens() []shownToken {
	d.t.Helper()
	var list struct{ Data []shownToken }
	d.site.decode(d.site.caddy.call(http.MethodGet, "tokens?kind=api&sort=-created_at", nil, http.StatusOK), &list)
	return list.Data
}

// gone waits until no dialog is open.
func (d *dashboard) gone() {
	d.t.Helper()
	d.eventually("no dialog is open", func() bool { return d.dialogs() == 0 })
}
