package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// paste inserts text where the focus is, as one step.
func (d *dashboard) paste(text string) {
	d.t.Helper()
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// pasteInSearch empties the search box and pastes text into it.
func (d *dashboard) pasteInSearch(text string) {
	d.t.Helper()
	d.find("")
	d.paste(text)
}

// checkSent checks that no URL that the page requested contains a part of the secret of a key,
// nor the page's own address, and that no request other than lookups has it in its body.
func (d *dashboard) checkSent(requests *sent, key string) {
	d.t.Helper()
	secret := key[17:]
	for _, request := range requests.all() {
		method, rest, _ := strings.Cut(request, " ")
		address, body, _ := strings.Cut(rest, " ")
		if strings.Contains(address, secret[:8]) {
			d.t.Errorf("a %s request has a part of the secret in its URL", method)
		}
		if strings.Contains(body, secret[:8]) && (method != http.MethodPost || !strings.HasSuffix(address, "/lookup")) {
			d.t.Errorf("a %s request to %s has a part of the secret in its body", method, address)
		}
	}
	if strings.Contains(evaluate[string](d.browser, `location.href + document.body.innerText`), secret[:8]) {
		d.t.Error("the page or its address contains a part of the secret")
	}
}

// TestDashboardSearch checks that the search finds keys by name, ID, hint, tag, owner and
// address, finds pages, and can be used with the keyboard.
func TestDashboardSearch(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.shows("Needs attention")
	key := read[listedToken](d.dashboard, "tokens/"+d.id("nightly backup"))
	for what, text := range map[string]string{
		"name": "nightly back", "ID": key.ID, "beginning of the ID": key.ID[:6], "hint": *key.Hint,
		"beginning of the hint": (*key.Hint)[:12], "tag": "backup, prod", "address": "10.20.4.2",
		"range": "10.20.4.0/24", "upper case": "NIGHTLY",
	} {
		d.find(text)
		d.wait("the key is found by its "+what, `[...document.querySelectorAll(".search [role=option]")].some(
			(option) => option.innerText.includes("nightly backup"))`)
	}
	d.find("storage")
	d.wait("keys are found by owner", `["nightly backup", "image upload", "quarterly migration"].every((name) =>
		[...document.querySelectorAll(".search [role=option]")].some((option) => option.innerText.includes(name)))`)
	d.find("settings")
	d.wait("the page is found", `document.querySelector(".search [role=option]").innerText.trim() === "Settings"`)
	d.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	d.shows("Notifications")
	d.find("nightly")
	d.wait("the key is found", `document.querySelector(".search [role=option]").innerText.includes("nightly backup")`)
	d.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	d.wait("the key's page opens", `location.hash === "#key/`+key.ID+`"`)
	d.find("web team")
	d.do(chromedp.KeyEvent(kb.Enter)) // without a choice: all matches
	d.wait("the list opens", `location.hash.startsWith("#keys?q=web")`)
	d.shows("status page", "edge cache purge")
	d.find("zzzzz")
	d.shows("No key or page matches.")
	d.do(chromedp.KeyEvent(kb.Escape))
	d.wait("Escape closes the search", `document.querySelector(".search .menu") === null`)
	d.quiet()
}

// TestDashboardLookup checks that pasting a whole key identifies it, that its secret gets into no
// URL and no log, and that what isn't a known key is explained.
func TestDashboardLookup(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.shows("Needs attention")
	requests := d.record()
	key := d.keys["mobile CI"].Secret.Reveal()
	d.pasteInSearch("Authorization: Bearer " + key)
	d.wait("the key's page opens", `location.hash === "#key/`+tokenID(key)+`"`)
	d.shows("This is “mobile CI”, active.", "Revoke now")
	if value := evaluate[string](d.browser, `document.querySelector(".search input").value`); value != "" {
		t.Error("the search box still contains the key")
	}
	d.checkSent(requests, key)
	if status := d.ask(key); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	d.press("Revoke now")
	d.shows("This can't be undone.", "Last used")
	d.press("Revoke")
	d.shows(`Revoked "mobile CI".`)
	if status := d.ask(key); status != http.StatusUnauthorized {
		t.Errorf("after the revocation: status %d", status)
	}

	// A key with a wrong letter, and the beginning of a key.
	letter := "x"
	if key[30] == 'x' {
		letter = "y"
	}
	other := d.keys["canary"].Secret.Reveal()
	for _, text := range []string{key[:30] + letter + key[31:], key[:40], other[:25], other[4:], other[6:]} {
		d.page("#overview")
		d.pasteInSearch(text)
		d.settle()
		if text != other[6:] {
			d.wait("the search names the key", `[...document.querySelectorAll(".search [role=option]")].some((option) =>
				/mobile CI|canary/.test(option.innerText))`)
		}
		if strings.HasPrefix(text, "mmk_") {
			d.shows("That isn't a whole key: part of it is missing or changed.")
		}
		d.do(chromedp.KeyEvent(kb.Enter))
		d.wait("the list opens", `location.hash.startsWith("#keys?q=")`)
		d.checkSent(requests, key)
		d.checkSent(requests, other)
	}

	// The filter of the list must not put a pasted key into the address either.
	d.page("#keys")
	d.shows("canary")
	d.do(chromedp.Focus(chromedp.CSS(".key-filters input")))
	d.paste(other)
	d.wait("the list has one key", `document.querySelectorAll("tbody tr").length === 1`)
	d.shows("canary")
	if got := d.hash(); got != "keys?q="+tokenID(other) {
		t.Errorf("the address is #%.24s…", got)
	}

	// A secret that was replaced.
	if _, stderr, code := d.site.run("api-token", "rotate", "--yes", "--grace", "0s", tokenID(other)); code != 0 {
		t.Fatal(stderr)
	}
	d.pasteInSearch(other)
	d.shows("No key here has this secret.")
	d.checkSent(requests, other)
	d.quiet()
	d.site.checkLogs(key, other, d.admin)
}

// TestDashboardScan checks that scanning files finds keys by file and line, and that only IDs
// leave the browser.
func TestDashboardScan(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	foreign := d.site.token("--name", "deleted", "--scope", "unikernel:list", "--account", "default")
	d.site.run("api-token", "delete", "--yes", tokenID(foreign))
	d.signIn()
	d.shows("Needs attention")
	requests := d.record()
	active, revoked := d.keys["autoscaler"].Secret.Reveal(), d.keys["GitLab runner"].Secret.Reveal()
	d.scan(map[string]string{
		"deploy.env": "# settings\nA=1\nKEY=" + active + "\nAGAIN=" + active,
		"utf16.log":  strings.Join(strings.Split("x\n"+revoked+"\n", ""), "\x00"),
		"notes.txt":  "nothing\n" + foreign + "\nmmk_000000000000_" + strings.Repeat("0", 38),
	})
	d.shows("3 keys found in 3 files", "autoscaler", "deploy.env:3, deploy.env:4", "GitLab runner", "utf16.log:2",
		tokenID(foreign), "notes.txt:2", "Not known here: deleted, or of another server")
	if faults := d.layoutFaults(); faults != "" {
		t.Error(faults)
	}
	d.accessible("findings")
	for _, key := range []string{active, revoked, foreign} {
		d.checkSent(requests, key)
	}
	if n := evaluate[int](d.browser, `[...document.querySelectorAll("dialog button")].filter((button) =>
		button.textContent === "Revoke now").length`); n != 1 {
		t.Errorf("%d keys can be revoked, want 1", n)
	}
	d.press("Revoke now")
	d.shows("This can't be undone.")
	d.press("Revoke")
	d.shows(`Revoked "autoscaler".`)
	if status := d.ask(active); status != http.StatusUnauthorized {
		t.Errorf("after the revocation: status %d", status)
	}
	d.wait("the finding shows the new state", `document.querySelectorAll("dialog .badge.revoked").length === 2`)
	d.press("Close")

	other := d.keys["chat bot"].Secret.Reveal()
	d.script(`{const files = new DataTransfer();
		files.items.add(new File(["a\nb " + ` + quoteJS(other) + `], "dropped.log"));
		for (const name of ["dragover", "drop"]) document.querySelector("main").dispatchEvent(
			new DragEvent(name, {dataTransfer: files, bubbles: true, cancelable: true}))}`)
	d.shows("1 key found in 1 file", "chat bot", "dropped.log:2")
	d.checkSent(requests, other)
	d.press("Close")
	d.scan(map[string]string{"empty.txt": "nothing"})
	d.shows("No keys found in 1 file (7 B).")
	d.press("Close")
	d.quiet()
	d.site.checkLogs(active, revoked, foreign, other)
}
