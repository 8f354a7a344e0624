package e2e

import (
	"context"
	_ "embed"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// takeScreenshots enables screenshots of every page and dialog, including those used in the
// README:
//
//	go test -C e2e -run TestDashboardPictures . -pictures
var takeScreenshots = flag.Bool("pictures", false,
	"write dashboard screenshots to e2e/screenshots, and the README's to docs")

//go:embed testdata/axe-core/axe.min.js
var axe string

// accessible runs Deque Systems' axe on the current page. With rules, it runs only those.
func (d *dashboard) accessible(what string, rules ...string) {
	d.t.Helper()
	if !evaluate[bool](d.browser, `typeof axe === "object"`) {
		d.script(axe)
	}
	only := ""
	if len(rules) > 0 {
		only = `, runOnly: "` + strings.Join(rules, ",") + `".split(",")`
	}
	run := `axe.run(document, {resultTypes: ["violations"]` + only + `}).then(({violations}) => violations.map((v) =>
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

// media makes the browser report features of a medium, such as a dark color scheme.
func (d *dashboard) media(features ...*emulation.MediaFeature) {
	d.t.Helper()
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	}))
}

// scheme switches the page to a light or dark color scheme, without transitions.
func (d *dashboard) scheme(name string) {
	d.t.Helper()
	d.media(&emulation.MediaFeature{Name: "prefers-color-scheme", Value: name},
		&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
}

// TestDashboardAccessibility checks that axe finds no violations on any page, dialog or menu,
// in a wide and in a narrow window, and that no part is outside the window. The color schemes differ
// only in their colors.
func TestDashboardAccessibility(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.scheme("light")
	d.walk([]int64{1280, 360}, func(name string, _ int64) {
		d.accessible(name)
		d.checkLayout(name)
		d.scheme("dark")
		d.checkLayout(name + ", dark")
		d.accessible(name+", dark", "color-contrast")
		d.scheme("light")
	})
	d.quiet()
}

// layoutFaults is an expression for what is too wide or outside the window, or "".
const layoutFaults = `(() => {
	const faults = [];
	const root = document.documentElement;
	if (root.scrollWidth > root.clientWidth)
		faults.push("the page is " + (root.scrollWidth - root.clientWidth) + " pixels too wide: " +
			[...document.querySelectorAll("main *")].filter((part) => part.getBoundingClientRect().right >
				root.clientWidth).map((part) => part.outerHTML.slice(0, 80)).slice(-4));
	const dialogs = [...document.querySelectorAll("dialog[open]")];
	for (const part of dialogs.flatMap((dialog) => [dialog, ...dialog.querySelectorAll(".content, header, footer")]))
		if (part.scrollWidth > part.clientWidth)
			faults.push(part.localName + "." + part.className + " is " + (part.scrollWidth - part.clientWidth) +
				" pixels too wide");
	const buttons = dialogs.slice(-1).flatMap((dialog) => [...dialog.querySelectorAll("footer .button")]);
	for (const part of [...buttons, ...document.querySelectorAll(".menu, .user, .top .button, .top .search")]) {
		const {left, top, right, bottom} = part.getBoundingClientRect();
		if (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight)
			faults.push(part.className + " " + part.textContent.trim().slice(0, 40) + " is outside the window: " +
				[left, top, right, bottom].map(Math.round));
	}
	return faults.join("\n");
})()`

// layoutFaults returns what is too wide or outside the window. After the window's size has changed,
// charts are drawn again, so it waits for a while until there are no faults.
func (b *browser) layoutFaults() (faults string) {
	b.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if faults = evaluate[string](b, layoutFaults); faults == "" || time.Now().After(deadline) {
			return faults
		}
	}
}

// checkLayout checks that the page and its dialogs aren't wider than the window and that the
// buttons of dialogs are inside it.
func (b *browser) checkLayout(what string) {
	b.t.Helper()
	if faults := b.layoutFaults(); faults != "" {
		b.t.Errorf("%s: %s", what, faults)
	}
}

// TestDashboardPictures checks the layout of every page, dialog and menu in the widths that
// TestDashboardAccessibility doesn't use. With -pictures, it also takes screenshots, in four widths,
// light and dark.
func TestDashboardPictures(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	widths := []int64{1920, 820}
	if *takeScreenshots {
		widths = append(widths, 1280, 360)
	}
	d.walk(widths, func(name string, _ int64) {
		d.scheme("light")
		d.checkLayout(name)
		if *takeScreenshots {
			name = strings.NewReplacer(" at ", "-", " pixels", "", " ", "-").Replace(name)
			for _, scheme := range []string{"light", "dark"} {
				d.scheme(scheme)
				d.screenshot(name + "-" + scheme)
			}
		}
	})
	if *takeScreenshots {
		d.takeReadmePictures()
	}
	d.quiet()
}

// takeReadmePictures takes the pictures of the overview that the README shows.
func (d *demoDashboard) takeReadmePictures() {
	d.t.Helper()
	d.do(chromedp.EmulateViewport(1280, 800))
	d.page("#keys")
	d.shows("GitHub Actions deploy")
	d.page("#overview")
	d.shows("Needs attention", "Busiest keys")
	for _, scheme := range []string{"light", "dark"} {
		d.scheme(scheme)
		d.settle()
		picture, err := chromedp.Run(d.ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile("../docs/dashboard-"+scheme+".png", picture, 0o644)
		}
		if err != nil {
			d.t.Error(err)
		}
	}
}
