package e2e

import (
	"context"
	"fmt"
	"os"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// state is something that the dashboard can show: a page, a dialog or a menu.
type state struct {
	name string
	// show shows it. hide, if any, hides it again.
	show, hide func()
	// popup reports whether it must be shown again after the window's size changes.
	popup bool
}

// states returns everything that the dashboard of a demo site shows, starting with the sign-in.
func (d *demoDashboard) states() []state {
	all := []state{{name: "sign-in", show: func() { d.shows("Sign in to Mollygate") }, hide: d.signIn}}
	for _, shown := range []struct{ name, hash, says string }{
		{"overview", "#overview", "Needs attention"},
		{"overview-24h", "#overview?range=24h", "Needs attention"},
		{"overview-90d", "#overview?range=90d", "Needs attention"},
		{"keys", "#keys", "GitHub Actions deploy"},
		{"keys-filtered", "#keys?status=active&account=alice&tag=ci", "staging deploy"},
		{"keys-none", "#keys?q=nonsense", "No key matches."},
		{"admin", "#admin", "erin (on call)"},
		{"audit", "#audit", "Command line"},
		{"settings", "#settings", "Notifications"},
		{"not-found", "#nothing", "There is no such page"},
	} {
		all = append(all, state{name: shown.name, show: func() {
			d.page(shown.hash)
			d.shows(shown.says)
		}})
	}
	for name, says := range map[string]string{
		"GitHub Actions deploy": "Rotation in progress", "GitLab runner": "since it was revoked",
		"load test":         "Disabled",
		"contractor access": "Expired", "security scan": "expiring", "quarterly migration": "Not valid before",
		"edge cache purge": "Allow 192.0.2.130",
		"new status page":  "No request with this key has been refused.",
		"mobile CI":        "Why was this refused?", "nightly backup": "per calendar month", "carol": "Activity",
	} {
		all = append(all, state{name: "key-" + name, show: func() {
			d.key(name)
			d.shows(says)
		}})
	}
	cancel := func() { d.press("Cancel") }
	// dialog is a dialog that an item of a key's menu opens.
	dialog := func(name, key, item, says string) state {
		return state{name: name, hide: cancel, show: func() {
			d.key(key)
			d.menu("More actions", item)
			d.shows(says)
		}}
	}
	all = append(all,
		dialog("edit", "nightly backup", "Edit", "Restrictions and limits"),
		dialog("like", "mobile CI", "New key like this", "New API key"),
		dialog("extend", "security scan", "Extend", "New expiry"),
		dialog("tags", "mobile CI", "Edit tags", "Add tags"),
		dialog("rotate", "GitHub Actions deploy", "Rotate", "Keep the old secret working for"),
		dialog("disable", "status page", "Disable", "until you enable it again"),
		dialog("revoke", "status page", "Revoke", "This can't be undone."),
		dialog("revoke-own", "carol", "Revoke", "You are signed in with this key."),
		dialog("delete", "load test", "Delete", "Permanently deletes the key"),
		state{name: "trim", hide: cancel, show: func() {
			d.key("mobile CI")
			d.press("Remove 3 unused scopes…")
			d.shows("Scopes to keep")
		}},
		state{name: "add-scope", hide: cancel, show: func() {
			d.key("chat bot")
			d.press("Add scope unikernel:destroy")
			d.shows("may use it from its next request on")
		}},
		state{name: "end-overlap", hide: cancel, show: func() {
			d.key("GitHub Actions deploy")
			d.press("Stop old secret now")
			d.shows("Stop the old secret now?")
		}},
		state{name: "explain", show: func() {
			d.key("chat bot")
			d.press("Explain")
			d.shows("Refused — 403")
		}},
		state{name: "bulk", show: func() {
			d.page("#keys?account=bob&status=active")
			d.shows("mobile CI")
			d.click(`[aria-label="Select all on this page"], .key-cards .select`)
			d.shows("selected")
		}},
		state{name: "bulk-revoke", hide: cancel, show: func() {
			d.press("Revoke")
			d.shows("Requests with these keys")
		}},
	)
	fresh := func() {
		d.page("#keys")
		d.shows("GitHub Actions deploy")
		d.press("New API key")
		d.shows("What is the key for?")
	}
	all = append(all,
		state{name: "new", show: fresh, hide: cancel},
		state{name: "new-resources", show: func() {
			fresh()
			d.template("One unikernel")
			d.fill("Resources", "web-*,volume/db,")
			d.shows("only web-* (unikernels) and db (volumes)")
		}, hide: func() {
			cancel()
			d.press("Discard")
		}},
		state{name: "new-errors", show: func() {
			fresh()
			d.click(".templates button")
			d.fill("Name", " ")
			d.click("dialog summary")
			d.fill("Allowed IP addresses", "nowhere")
			d.fill("Rate limit", "often")
			d.choose("Expires", "date")
			d.press("Create key")
			d.shows("isn't an IP address or range", "Enter a name", "Enter a date and time")
		}},
		state{name: "discard", show: func() {
			d.press("Cancel")
			d.shows("Discard your changes?")
		}, hide: func() { d.press("Discard") }},
		state{name: "link", show: func() {
			d.page("#new?name=CI&preset=deploy&planet=earth")
			d.shows("A link filled in this form")
		}, hide: cancel},
		state{name: "new-admin", show: func() {
			d.page("#admin")
			d.shows("erin (on call)")
			d.press("New admin key")
			d.shows("Create key")
		}, hide: cancel},
		state{name: "secret-curl", show: func() {
			fresh()
			d.click(".templates button")
			d.press("Create key")
			d.secret()
		}},
	)
	for _, tab := range []string{"GitHub Actions", "GitLab CI", "Shell"} {
		next := state{name: "secret-" + tab, show: func() { d.press(tab) }}
		if tab == "Shell" {
			next.hide = d.keep
		}
		all = append(all, next)
	}
	escape := func() {
		d.script(`document.activeElement.blur(); document.querySelector(".menu[popover]")?.hidePopover()`)
	}
	menu := func(name, hash, says, button string) state {
		return state{name: name, popup: true, hide: escape, show: func() {
			d.page(hash)
			d.shows(says)
			d.script(`document.querySelector(` + quoteJS(button) + `)?.click()`)
			d.wait("the menu is open", `document.querySelector(".menu") !== null || `+
				`document.querySelector(`+quoteJS(button)+`) === null`)
		}}
	}
	return append(all,
		menu("menu-user", "#overview", "Needs attention", ".user"),
		menu("menu-row", "#keys", "GitHub Actions deploy",
			"tbody [aria-haspopup=menu], .key-cards [aria-haspopup=menu]"),
		menu("menu-owner", "#keys", "GitHub Actions deploy", ".pill:nth-of-type(2) button"),
		menu("menu-columns", "#keys", "GitHub Actions deploy", ".page-head [aria-haspopup=menu]"),
		menu("menu-key", "#key/"+d.id("mobile CI"), "Activity", ".page-head [aria-haspopup=menu]"),
		state{name: "search", popup: true, show: func() { d.find("git") }, hide: escape},
		state{name: "search-all", popup: true, show: func() { d.find("") }, hide: escape},
		state{name: "scan", show: func() {
			d.scan(map[string]string{"deploy.env": "A=1\nKEY=" + d.keys["mobile CI"].Secret.Reveal() + "\n",
				"old.log": "x\n\n" + d.keys["GitLab runner"].Secret.Reveal()})
			d.shows("2 keys found in 2 files")
		}, hide: func() { d.press("Close") }},
	)
}

// find types text into the search box.
func (d *dashboard) find(text string) {
	d.t.Helper()
	d.script(`{const box = document.querySelector(".search [role=combobox]"); box.blur(); box.value = "";
		box.dispatchEvent(new Event("input", {bubbles: true})); box.focus()}`)
	if text != "" {
		d.do(chromedp.SendKeys(chromedp.CSS(".search [role=combobox]"), text))
	}
	d.wait("the search offers something", `document.querySelector(".search [role=option]") !== null`)
}

// scan chooses files, given by name, to scan for keys.
func (d *dashboard) scan(files map[string]string) {
	d.t.Helper()
	dir := d.t.TempDir()
	var paths []string
	for name, content := range files {
		path := dir + "/" + name
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			d.t.Fatal(err)
		}
		paths = append(paths, path)
	}
	d.find("scan files")
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, page.SetInterceptFileChooserDialog,
			page.SetInterceptFileChooserDialogParams{Enabled: true}); err != nil {
			return err
		}
		const scan = chromedp.Search(`//*[@role="option"][contains(., "Scan files")]`)
		option := chromedp.Click(scan, chromedp.NodeVisible)
		chooser, err := chromedp.WaitEvent(page.FileChooserOpened, nil, option)(ctx, tab)
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, tab, dom.SetFileInputFiles,
			dom.SetFileInputFilesParams{Files: paths, BackendNodeID: chooser.BackendNodeID})
		return err
	}))
}

// walk shows each state in windows of the given widths and calls visit.
func (d *demoDashboard) walk(widths []int64, visit func(name string, width int64)) {
	d.t.Helper()
	for _, state := range d.states() {
		for i, width := range widths {
			d.do(chromedp.EmulateViewport(width, 800))
			if i == 0 || state.popup {
				state.show()
			}
			d.settle()
			visit(fmt.Sprintf("%s at %d pixels", state.name, width), width)
			if state.popup {
				state.hide()
			}
		}
		if state.hide != nil && !state.popup {
			state.hide()
		}
		if d.t.Failed() && d.ctx.Err() != nil {
			return
		}
	}
}
