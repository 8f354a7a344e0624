package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserSite serves the dashboard on one host and the gate on another, as in the README.
// Chromium resolves *.localhost to the loopback address.
const browserSite = globals + `
http://keys.localhost:{$HTTP} {
	api_tokens_admin
}
http://127.0.0.1:{$HTTP} {
	handle {
		bearer_auth {
			routes mollymawk
		}
		reverse_proxy {$BACKEND} {
			transport http {
				versions 1.1
				keepalive off
			}
		}
	}
}
`

// browserTimeout limits each step in the browser. It is generous because the machine may be
// busy.
const browserTimeout = 2 * time.Minute

// serverError is the code of all errors that Chromium returns while a page is being replaced, such
// as "Inspected target navigated or closed" (JSON-RPC 2.0 section 5.1).
const serverError = -32000

// browser is a Chromium tab.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu sync.Mutex
	// complaints holds script exceptions and entries from the browser's error log.
	complaints []string
	// hosts holds the hosts that the page sent requests to.
	hosts map[string]bool
}

// newBrowser opens a tab in a browser with a new profile.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	running := browsers.take(t)
	tab, closeTab := chromedp.NewContext(running.ctx, chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(tab, 10*time.Minute)
	b := &browser{t: t, ctx: ctx, hosts: make(map[string]bool)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the browser reported: %q", b.complaints)
			b.screenshot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
		closeTab()
		if !t.Failed() { // otherwise, the browser may be the cause
			browsers.put(running)
		}
	})
	b.listen()
	b.do(chromedp.EmulateViewport(1280, 900))
	return b
}

// profile returns the ID of the browser's profile.
func (b *browser) profile() cdp.BrowserContextID { return chromedp.FromContext(b.ctx).BrowserContextID }

// tab opens a new tab in the same browser.
func (b *browser) tab() *browser {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	other := &browser{t: b.t, ctx: ctx, hosts: make(map[string]bool)}
	other.listen()
	return other
}

func (b *browser) listen() {
	if err := chromedp.Listen(b.ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints,
				fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.Exception.Description))
		case *log.EventEntryAdded:
			// The browser also logs API refusals here; those are expected.
			if e.Entry.Source != log.EntrySourceNetwork {
				b.complaints = append(b.complaints, e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if asked, err := url.Parse(e.Request.URL); err == nil && strings.HasPrefix(asked.Scheme, "http") {
				b.hosts[asked.Host] = true
			}
		}
	}); err != nil {
		b.t.Fatalf("starting the browser: %v", err)
	}
}

// checkQuiet fails the test on exceptions, content security policy violations, and requests to
// hosts other than host.
func (b *browser) checkQuiet(host string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		b.t.Errorf("the browser reports: %s", complaint)
	}
	for asked := range b.hosts {
		if asked != host {
			b.t.Errorf("the page sent a request to %s", asked)
		}
	}
}

// do performs actions in the page, waiting up to browserTimeout for each action's element.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// reload loads the page again.
func (b *browser) reload() {
	b.t.Helper()
	b.do(chromedp.Reload())
}

// byText returns an XPath for elements with the given tag name and exactly the given text or
// aria-label. It searches the topmost dialog if one is open, and the whole page otherwise.
func (b *browser) byText(element, text string) chromedp.Search {
	b.t.Helper()
	top := ""
	if evaluate[bool](b, `document.querySelector("dialog[open]") !== null`) {
		top = "(//dialog[@open])[last()]"
	}
	return chromedp.Search(fmt.Sprintf(`%s//%s[normalize-space()=%q or @aria-label=%[3]q]`, top, element, text))
}

func (b *browser) press(button string) {
	b.t.Helper()
	b.do(chromedp.Click(b.byText("button", button), chromedp.NodeVisible))
}

// fill types text into the input with the given label.
func (b *browser) fill(label, text string) {
	b.t.Helper()
	input := b.byText("label", label) + `/..//*[self::input or self::textarea]`
	b.do(chromedp.WaitVisible(input), chromedp.Focus(input),
		chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`), chromedp.SendKeys(input, text))
}

// choose selects a value in the drop-down list with the given label.
func (b *browser) choose(label, value string) {
	b.t.Helper()
	list := b.byText("label", label) + `/..//select`
	b.do(chromedp.WaitVisible(list), chromedp.SetValue(list, value))
}

// script runs a script in the page.
func (b *browser) script(script string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
}

// evaluate evaluates an expression without side effects in the page and returns its value. If the
// page is replaced meanwhile, it evaluates the expression in the new page.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserTimeout)
	defer cancel()
	for {
		value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
		var refused *cdproto.Error
		if errors.As(err, &refused) && refused.Code == serverError && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			b.t.Fatalf("browser: %v", err)
		}
		return value
	}
}

// text returns the page's visible text.
func (b *browser) text() string {
	b.t.Helper()
	return evaluate[string](b, `document.body?.innerText ?? ""`)
}

// shows waits until the page contains all of the given strings.
func (b *browser) shows(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		deadline := time.Now().Add(browserTimeout)
		for !strings.Contains(b.text(), text) {
			if time.Now().After(deadline) {
				b.t.Fatalf("the page lacks %q:\n%s", text, b.text())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// hides waits until the page no longer contains text.
func (b *browser) hides(text string) {
	b.t.Helper()
	eventually(b.t, "the page no longer contains "+text, func() bool { return !strings.Contains(b.text(), text) }, b)
}

// String implements fmt.Stringer, so that eventually can print the page's text.
func (b *browser) String() string { return b.text() }

// screenshots is the directory for screenshots, which Git ignores.
const screenshots = "screenshots"

// screenshot writes a screenshot of the whole page to the screenshots directory.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	b.screenshotTo(filepath.Join(screenshots, name+".png"))
}

// screenshotTo writes a screenshot of the whole page to a file.
func (b *browser) screenshotTo(path string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("taking screenshot %s: %v", path, err)
		return
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, png, 0o644)
	}
	if err != nil {
		b.t.Log(err)
	}
}
