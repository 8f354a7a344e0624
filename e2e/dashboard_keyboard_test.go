package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hit sends real key events.
func (d *dashboard) hit(keys ...string) {
	d.t.Helper()
	for _, key := range keys {
		d.do(chromedp.KeyEvent(key))
	}
}

// slash presses the slash key.
func (d *dashboard) slash() {
	d.t.Helper()
	d.stroke("/", "Slash", "/")
}

// stroke presses a key as a user does: the page can prevent the character.
func (d *dashboard) stroke(key, code, text string) {
	d.t.Helper()
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for _, event := range []input.DispatchKeyEventParams{
			{Type: "keyDown", Key: key, Code: code, Text: text, UnmodifiedText: text},
			{Type: "keyUp", Key: key, Code: code},
		} {
			if _, err := cdp.Call(ctx, tab, input.DispatchKeyEvent, event); err != nil {
				return err
			}
		}
		return nil
	}))
}

// focused is an expression for the label of the element with the focus.
const focused = `((e) => e.getAttribute("aria-label") ?? e.labels?.[0]?.innerText?.trim() ?? e.innerText?.trim() ?? "")(
	document.activeElement)`

// unseenFocus is an expression for the element with the focus, if nothing shows that it has it.
const unseenFocus = `((element) => {
	// The parts of a date show themselves which of them has the focus.
	if (element === document.body || element.matches("#content, dialog, .content, [type=date]")) return "";
	const parts = [element, element.nextElementSibling, ...element.querySelectorAll(":scope > *")].filter(Boolean);
	const outlined = parts.some((part) => {
		const style = getComputedStyle(part);
		return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
	});
	const filled = element.matches("[role^=menuitem], g");
	return element.matches(":focus-visible") && (outlined || filled) ? "" : element.outerHTML.slice(0, 120);
})(document.activeElement)`

// tabTo presses Tab until the element with the focus has a label.
func (d *dashboard) tabTo(label string) {
	d.t.Helper()
	for range 120 {
		d.hit(kb.Tab)
		if unseen := evaluate[string](d.browser, unseenFocus); unseen != "" {
			d.t.Errorf("nothing shows that the focus is on %s", unseen)
		}
		if evaluate[string](d.browser, focused) == label {
			return
		}
	}
	d.t.Fatalf("Tab doesn't lead to %q", label)
}

// arrowTo presses the down key until the element with the focus has a label.
func (d *dashboard) arrowTo(label string) {
	d.t.Helper()
	for range 30 {
		if evaluate[string](d.browser, focused) == label {
			return
		}
		d.hit(kb.ArrowDown)
	}
	d.t.Fatalf("the down key doesn't lead to %q", label)
}

// focusIs waits until the element with the focus has a label.
func (d *dashboard) focusIs(label string) {
	d.t.Helper()
	d.wait("the focus is on "+label, focused+` === `+quoteJS(label))
}

// TestDashboardKeyboard does a whole task with nothing but the keyboard: it signs in, creates a
// key, finds it and revokes it. After a dialog, the focus is where it was before.
func TestDashboardKeyboard(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.shows("Sign in to Mollygate")
	d.focusIs("Admin key")
	d.hit(d.admin, kb.Enter)
	d.hides("Sign in to Mollygate")
	d.shows("Get started")

	const search = "Search by name, ID or paste a key"
	d.script(`document.activeElement.blur()`)
	d.hit(kb.Tab)
	d.focusIs("Skip to the content")
	if left := evaluate[float64](d.browser, `document.activeElement.getBoundingClientRect().left`); left < 0 {
		t.Error("the skip link isn't visible")
	}
	d.hit(kb.Enter)
	d.wait("the skip link leads to the content", `document.activeElement.id === "content"`)
	d.slash()
	d.focusIs(search)
	if value := evaluate[string](d.browser, `document.activeElement.value`); value != "" {
		t.Errorf("the shortcut typed %q", value)
	}
	d.hit(kb.Escape)
	d.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	d.focusIs(search)

	d.tabTo("New API key")
	d.hit(kb.Enter)
	d.focusIs("Name")
	d.hit("keyboard")
	for {
		d.hit(kb.Tab)
		if evaluate[bool](d.browser, `document.activeElement.matches(".filter.read")`) {
			break
		}
	}
	d.hit(" ")
	d.tabTo("Create key")
	d.hit(kb.Enter)
	key := d.secret()
	d.tabTo("I've saved it")
	d.hit(" ")
	d.tabTo("Done")
	d.hit(kb.Enter)
	d.hides("You won't be able to see it again.")
	if status := d.ask(key); status != http.StatusOK {
		t.Errorf("status %d", status)
	}

	d.slash()
	d.focusIs(search)
	d.hit("keybo")
	d.wait("the key is found", `document.querySelector(".search [role=option]")?.innerText.startsWith("keyboard")`)
	d.hit(kb.ArrowDown, kb.Enter)
	d.wait("the key's page opens", `location.hash === "#key/`+tokenID(key)+`"`)
	d.shows("Activity")
	d.tabTo("More actions")
	for _, action := range []string{"Edit", "Rotate", "Extend", "Delete", "Revoke"} {
		d.hit(kb.Enter)
		d.wait("the menu is open", `document.querySelector(".menu:popover-open") !== null`)
		d.arrowTo(action)
		d.hit(kb.Enter)
		d.wait("the dialog is open", `document.querySelector("dialog[open]")?.contains(document.activeElement)`)
		if action == "Revoke" {
			break
		}
		d.hit(kb.Escape)
		d.wait("the dialog is closed", `document.querySelector("dialog[open]") === null`)
		d.focusIs("More actions")
	}
	d.focusIs("Cancel") // Enter doesn't confirm by accident
	d.tabTo("Revoke")
	d.hit(kb.Enter)
	d.shows(`Revoked "keyboard".`)
	if status := d.ask(key); status != http.StatusUnauthorized {
		t.Errorf("after the revocation: status %d", status)
	}
	d.focusIs("More actions")
	d.quiet()
}

// TestDashboardFocus visits all controls of every page with Tab, and checks that each shows that
// it has the focus and that the focus leaves the page at its end.
func TestDashboardFocus(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	for hash, says := range map[string]string{"#overview": "Needs attention", "#keys?account=bob": "mobile CI",
		"#audit?action=edit": "image upload", "#settings": "Notifications", "#key/" + d.id("mobile CI"): "Activity"} {
		d.page(hash)
		d.shows(says)
		d.script(`document.activeElement.blur(); document.getElementById("content").focus()`)
		visited, unseen := make(map[string]bool), ""
		for range 150 {
			d.hit(kb.Tab)
			place := evaluate[[]string](d.browser, `[`+unseenFocus+`, `+focused+`,
				document.activeElement.closest("main") ? "main" : ""]`)
			if place[0] != "" && unseen == "" {
				unseen = place[0]
			}
			if place[2] == "" {
				break
			}
			visited[place[1]] = true
		}
		if unseen != "" {
			t.Errorf("%s: nothing shows that the focus is on %s", hash, unseen)
		}
		if len(visited) < 4 {
			t.Errorf("%s: Tab visits only %d controls", hash, len(visited))
		}
	}
	// The bars of charts can be read with the arrow keys.
	d.page("#overview?range=30d")
	d.shows("Needs attention")
	d.wait("the chart has the range", `document.querySelectorAll(".chart g[role=img]").length === 30`)
	d.script(`document.querySelector(".chart g[tabindex='0']").focus()`)
	last := evaluate[string](d.browser, focused)
	d.hit(kb.ArrowLeft)
	if before := evaluate[string](d.browser, focused); before == last || before == "" {
		t.Errorf("the left key leads from %q to %q", last, before)
	}
	d.quiet()
}

// TestDashboardPreferences checks that the dashboard respects the preferences for reduced motion
// and for forced colors.
func TestDashboardPreferences(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.media(&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	d.page("#keys")
	d.shows("GitHub Actions deploy")
	const moving = `[...document.querySelectorAll("*")].filter((element) => {
		const style = getComputedStyle(element);
		return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
	}).map((element) => element.outerHTML.slice(0, 80))`
	if found := evaluate[[]string](d.browser, moving); len(found) > 0 {
		t.Errorf("with reduced motion, %d elements move, such as %s", len(found), found[0])
	}
	d.media(&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "no-preference"})
	if found := evaluate[[]string](d.browser, moving); len(found) == 0 {
		t.Error("nothing moves even without the preference")
	}
	d.media(&emulation.MediaFeature{Name: "forced-colors", Value: "active"})
	for hash, check := range map[string]string{
		"#overview": `[...document.querySelectorAll(".chart .allowed, .chart .refused")].every((bar) =>
			getComputedStyle(bar).fill !== getComputedStyle(document.body).backgroundColor)`,
		"#keys": `getComputedStyle(document.querySelector(".button.primary")).borderStyle !== "none"`,
	} {
		d.page(hash)
		d.shows("GitHub Actions deploy")
		d.wait(fmt.Sprintf("%s is readable with forced colors", hash), check)
	}
	d.quiet()
}
