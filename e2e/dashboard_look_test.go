package e2e

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// takeScreenshots enables screenshots of every page, including those used in the README:
//
//	go test -C e2e -run TestDashboardPictures . -pictures
var takeScreenshots = flag.Bool("pictures", false,
	"write dashboard screenshots to e2e/screenshots, and the README's to docs")

//go:embed testdata/axe-core/axe.min.js
var axe string

// accessible runs Deque Systems' axe on the current page.
func (d *dashboard) accessible(what string) {
	d.t.Helper()
	if !evaluate[bool](d.browser, `typeof axe === "object"`) {
		d.script(axe)
	}
	const run = `axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations.map((v) =>
		v.id + ": " + v.help + "\n" + v.nodes.map((n) => "  " + n.html + "\n  " + n.failureSummary).join("\n")))`
	ctx, cancel := context.WithTimeout(d.ctx, browserTimeout)
	defer cancel()
	violations, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, violation := range violations {
		d.t.Errorf("%s: %s", what, violation)
	}
}

// scheme switches the page to a light or dark color scheme.
func (d *dashboard) scheme(name string) {
	d.t.Helper()
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return err
	}))
}

// TestDashboardAccessibility checks that axe finds no violations on any page or dialog in
// either color scheme.
func TestDashboardAccessibility(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	key := d.site.token("--name", "CI", "--preset", "deploy", "--expires-in", "12h")
	d.ask(key)
	curl(t, append(bearer(key), d.site.url("/api/unikernel/monitoring/status"))...)
	d.site.run("api-token", "disable", tokenID(d.site.token("--name", "off", "--preset", "read")))
	for _, scheme := range []string{"light", "dark"} {
		d.scheme(scheme)
		if scheme == "light" {
			d.shows("Sign in")
			d.accessible("signing in")
			d.signIn()
		}
		d.open(d.url + "#keys")
		d.shows("CI", "disabled")
		d.accessible(scheme + " list")
		d.act("CI", "Revoke")
		d.shows("This key was last used")
		d.accessible(scheme + " confirmation")
		d.press("Cancel")
		d.script(`document.querySelector("tbody summary").click()`)
		d.accessible(scheme + " menu")
		d.open(d.url + "#new?name=" + scheme + "&preset=read")
		d.shows("Create API key")
		d.script(`document.querySelector("dialog details").open = true`)
		d.accessible(scheme + " form")
		d.press("Create key")
		d.secret()
		d.accessible(scheme + " new key")
		d.keep()
		d.open(d.url + "#key/" + tokenID(key))
		d.shows("Why was this refused?")
		d.fill("Path", "/api/unikernels")
		d.press("Explain")
		d.shows("Allowed.")
		d.accessible(scheme + " key")
		d.open(d.url + "#audit")
		d.shows("caddy-admin")
		d.accessible(scheme + " audit")
	}
}

// TestDashboardPictures checks that no page is wider than the window, light or dark, wide or
// narrow. With -pictures, it also takes screenshots.
func TestDashboardPictures(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	names := []string{"GitHub CI", "Release", "Nightly backup", "Old server", "Monitoring"}
	var keys []string
	for i, name := range names {
		keys = append(keys, d.site.token("--name", name, "--preset", []string{"deploy", "read", "backup"}[i%3],
			"--expires-in", []string{"90d", "12h", "1y"}[i%3]))
		for range i * 3 {
			d.ask(keys[i])
		}
	}
	for _, args := range [][]string{{"disable", tokenID(keys[3])}, {"revoke", "--yes", tokenID(keys[4])}} {
		if _, stderr, code := d.site.run(append([]string{"api-token"}, args...)...); code != 0 {
			t.Fatal(stderr)
		}
	}
	d.ask(keys[3])
	d.signIn()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			d.do(chromedp.EmulateViewport(width, 800))
			d.scheme(scheme)
			for _, page := range []struct{ name, hash, says string }{
				{"list", "#keys", "API keys (6)"},
				{"new", "#new?name=CI&preset=deploy", "Create API key"},
				{"key", "#key/" + tokenID(keys[2]), "Why was this refused?"},
				{"audit", "#audit", "caddy-admin"},
			} {
				d.open(d.url + page.hash)
				d.shows(page.says)
				if page.name == "list" && *takeScreenshots {
					time.Sleep(300 * time.Millisecond) // the charts load one by one
				}
				if wide := evaluate[int](d.browser,
					`document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
					t.Errorf("page %s is %d pixels wider than the window of %d", page.name, wide, width)
				}
				if *takeScreenshots {
					d.screenshot(fmt.Sprintf("%s-%s-%d", page.name, scheme, width))
				}
				if *takeScreenshots && page.name == "list" && width == 1280 { // used in the README
					d.screenshotTo("../docs/dashboard-" + scheme + ".png")
				}
			}
		}
	}
	d.checkQuiet("keys.localhost:" + d.site.env["HTTP"])
}
