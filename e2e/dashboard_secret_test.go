package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// allowClipboard lets the page use the clipboard without asking.
func (d *dashboard) allowClipboard() {
	d.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(d.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: "granted",
			BrowserContextID: d.profile(),
		}); err != nil {
			d.t.Fatal(err)
		}
	}
}

// clipboard returns the clipboard's text.
func (d *dashboard) clipboard() string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, browserTimeout)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`,
		chromedp.EvalAwaitPromise))
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

// doneIsDisabled reports whether the panel's button Done is disabled.
func (d *dashboard) doneIsDisabled() bool {
	d.t.Helper()
	return evaluate[bool](d.browser, `document.querySelector("dialog footer button[type=submit]").disabled`)
}

// TestDashboardSecret checks that a new secret is lost neither by Esc nor by Back nor by loading
// the page again, that it is nowhere but in its input, and that the panel can be closed only
// after copying it.
func TestDashboardSecret(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.allowClipboard()
	asked := make(chan page.DialogType, 10)
	if err := chromedp.Listen(d.ctx, func(event any) {
		if opening, ok := event.(*page.EventJavascriptDialogOpening); ok {
			asked <- opening.Type
		}
	}); err != nil {
		t.Fatal(err)
	}
	d.signIn()
	d.page("#keys")
	d.newKey("CI")
	d.press("Create key")
	key := d.secret()
	for range 3 { // real key events: Chromium closes other dialogs on the second
		d.do(chromedp.KeyEvent(kb.Escape))
	}
	d.shows("Copy the key before you close this.")
	d.checkDialog()
	d.script(`history.back()`)
	d.eventually("Back changes nothing", func() bool { return evaluate[string](d.browser, `location.hash`) == "#keys" })
	if d.secret() != key || !d.doneIsDisabled() ||
		evaluate[bool](d.browser, `document.querySelector("dialog [aria-label=Close]") !== null`) {
		t.Error("the panel lost the key, or can be closed before the key is copied")
	}
	// The browser asks the user before it loads the page again. The user stays.
	d.script(`setTimeout(() => location.reload())`)
	if kind := <-asked; kind != page.DialogTypeBeforeunload {
		t.Errorf("the browser shows a dialog %s", kind)
	}
	d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
		return err
	}))
	if d.secret() != key {
		t.Error("loading the page again lost the key")
	}
	for where, text := range map[string]string{
		"the page's text":    d.text(),
		"the page's HTML":    evaluate[string](d.browser, `document.documentElement.outerHTML`),
		"the address":        evaluate[string](d.browser, `location.href`),
		"the page's history": evaluate[string](d.browser, `JSON.stringify(history.state)`),
		"the page's storage": evaluate[string](d.browser, `JSON.stringify([{...localStorage}, {...sessionStorage}])`),
	} {
		checkNoSecret(t, where, text, key)
	}
	d.press("Copy")
	d.shows("Copied")
	if d.doneIsDisabled() || d.clipboard() != key {
		t.Error("Copy doesn't put the key on the clipboard, or doesn't allow to close the panel")
	}
	d.hides("Copy the key before you close this.")
	d.press("Done")
	d.gone()
	if n := evaluate[int](d.browser, `document.querySelectorAll("input.secret").length`); n != 0 {
		t.Error("the page still contains the key")
	}

	// Copying the selected key by hand also counts.
	d.newKey("by hand")
	d.do(chromedp.Click(chromedp.Search(fmt.Sprintf(templateButton, "GitLab CI")), chromedp.NodeVisible))
	d.press("Create key")
	key = d.secret()
	d.shows("Save the key as the masked CI/CD variable MOLLYGATE_KEY.") // the template's tab is open
	d.do(chromedp.Focus(chromedp.CSS("dialog input.secret")))
	d.script(`document.execCommand("copy")`)
	d.eventually("Done is enabled", func() bool { return !d.doneIsDisabled() })
	if d.clipboard() != key {
		t.Error("the focused input doesn't select the key")
	}
	d.do(chromedp.KeyEvent(kb.Escape))
	d.gone()

	// A key whose first request is refused, and which can't list unikernels.
	d.press("New API key")
	d.shows("What is the key for?")
	d.fill("Name", "backup")
	d.press("backup download volumes")
	d.press("Create key")
	key = d.secret()
	d.shows("This key can't list unikernels", "Waiting for the first request…")
	d.answers(key, http.StatusForbidden)
	d.shows("A request was refused. The key's page shows why.")
	d.checkDialog()
	d.keep()
	d.quiet()
	d.site.checkLogs(key)
}

// TestDashboardLostResponse checks that repeating a request whose response was lost doesn't
// create a second key, and that the page says what to do then.
func TestDashboardLostResponse(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.page("#keys")
	d.newKey("CI")
	lost := make(chan fetch.RequestID, 1)
	if err := chromedp.Listen(d.ctx, func(event any) {
		if paused, ok := event.(*fetch.EventRequestPaused); ok {
			lost <- paused.RequestID
		}
	}); err != nil {
		t.Fatal(err)
	}
	call := func(action func(ctx context.Context, tab *chromedp.Target) error) {
		t.Helper()
		d.do(chromedp.Func(action))
	}
	call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{
			{URLPattern: "*/api/v1/tokens", RequestStage: fetch.RequestStageResponse}}})
		return err
	})
	d.press("Create key")
	request := <-lost
	call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, fetch.FailRequest, fetch.FailRequestParams{RequestID: request,
			ErrorReason: network.ErrorReasonConnectionReset})
		return err
	})
	d.shows("Can't reach the server. Nothing you entered is lost; try again.")
	if n := len(d.tokens()); n != 1 {
		t.Fatalf("%d keys exist, want the one whose response was lost", n)
	}
	call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, fetch.Disable, cdp.Empty{})
		return err
	})
	d.press("Create key")
	d.shows("The key was created, but its secret was lost in transit. Rotate the key to get a new one.")
	d.gone()
	d.cell("CI", "status", "active")
	if n := len(d.tokens()); n != 1 {
		t.Errorf("%d keys exist, want 1", n)
	}
	d.act("CI", "Rotate")
	d.press("Rotate")
	key := d.secret()
	d.answers(key, http.StatusOK)
	if strings.Contains(d.text(), "Waiting for the first request…") {
		t.Error("the panel of a rotation waits for a first request")
	}
	d.keep()
}
