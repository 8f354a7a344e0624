package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserSite has the dashboard on a host of its own and the gate on another, as the
// README shows it. Chromium takes names below localhost for this machine.
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

// patience is how long something in the browser may take, on a machine that does much
// else.
const patience = time.Minute

// browser is a tab of Debian's Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu sync.Mutex
	// complaints are what scripts threw and what the browser refused to do.
	complaints []string
	// hosts are those that anything was asked of.
	hosts map[string]bool
}

// chromium is the browser's program; Debian's name comes first.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: install Debian's package chromium, as scripts/test does")
	return ""
}

// newBrowser starts a browser with a profile of its own.
func newBrowser(t *testing.T, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.NoSandbox, // tests may run as root
		chromedp.Flag("disable-dev-shm-usage", true),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	tab, stopTab := chromedp.NewContext(allocator)
	ctx, cancel := context.WithTimeout(tab, 10*time.Minute)
	b := &browser{t: t, ctx: ctx, hosts: make(map[string]bool)}
	t.Cleanup(func() {
		if t.Failed() {
			b.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		_ = chromedp.Cancel(tab)
		cancel()
		stopTab()
		stopAllocator()
	})
	b.listen()
	b.do(chromedp.EmulateViewport(1280, 900))
	return b
}

// tab opens another tab of the same browser.
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
			// Refusals of the API are told here, too, and are no complaints.
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

// checkQuiet says what went wrong in the page: exceptions, violations of its content
// security policy, requests to other hosts.
func (b *browser) checkQuiet(host string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		b.t.Errorf("the browser complains: %s", complaint)
	}
	for asked := range b.hosts {
		if asked != host {
			b.t.Errorf("the page asks %s for something", asked)
		}
	}
}

// do does something in the page, and waits for what it is about, but not for ever.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("in the browser: %v", err)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// byText is an XPath of the elements of a name in the topmost dialog, or else in the
// page, that say exactly this.
func (b *browser) byText(element, text string) chromedp.Search {
	b.t.Helper()
	top := ""
	if evaluate[bool](b, `document.querySelector("dialog[open]") !== null`) {
		top = "(//dialog[@open])[last()]"
	}
	return chromedp.Search(fmt.Sprintf(`%s//%s[normalize-space()=%q]`, top, element, text))
}

func (b *browser) press(button string) {
	b.t.Helper()
	b.do(chromedp.Click(b.byText("button", button), chromedp.NodeVisible))
}

// fill writes into the input of a label.
func (b *browser) fill(label, text string) {
	b.t.Helper()
	input := b.byText("label", label) + `/..//*[self::input or self::textarea]`
	b.do(chromedp.WaitVisible(input), chromedp.Focus(input),
		chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`), chromedp.SendKeys(input, text))
}

// choose sets a select of a label to a value.
func (b *browser) choose(label, value string) {
	b.t.Helper()
	list := b.byText("label", label) + `/..//select`
	b.do(chromedp.WaitVisible(list), chromedp.SetValue(list, value))
	b.script(
		fmt.Sprintf(
			`document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue.dispatchEvent(new Event("change"))`, list))
}

// script runs a script in the page.
func (b *browser) script(script string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
}

// evaluate returns what an expression is in the page.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("in the browser: %v", err)
	}
	return value
}

// text is what stands in the page.
func (b *browser) text() string {
	b.t.Helper()
	return evaluate[string](b, `document.body?.innerText ?? ""`)
}

// shows waits until the page says something.
func (b *browser) shows(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		deadline := time.Now().Add(patience)
		for !strings.Contains(b.text(), text) {
			if time.Now().After(deadline) {
				b.t.Fatalf("the page doesn't say %q:\n%s", text, b.text())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// hides waits until the page says something no more.
func (b *browser) hides(text string) {
	b.t.Helper()
	eventually(b.t, "the page says "+text+" no more", func() bool { return !strings.Contains(b.text(), text) }, b)
}

// String is for what went wrong.
func (b *browser) String() string { return b.text() }

// pictures is where screenshots are written, an ignored folder.
const pictures = "screenshots"

// picture takes a picture of the whole page.
func (b *browser) picture(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture %s: %v", name, err)
		return
	}
	err = os.MkdirAll(pictures, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(pictures, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Log(err)
	}
}
