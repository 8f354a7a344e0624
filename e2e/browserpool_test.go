package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// browsers holds the browsers for all tests.
var browsers browserPool

// browserPool lets tests use the same browsers, because starting one takes 1.6 seconds of
// processor time. Each test uses a new profile. Two tests never use a browser at the same time,
// because they would share its clipboard.
type browserPool struct {
	mu sync.Mutex
	// all holds all running browsers, and idle those that no test uses.
	all, idle []*browserProcess
}

// browserProcess is a running browser.
type browserProcess struct {
	ctx   context.Context
	close func()
}

// take returns a browser that no other test uses.
func (b *browserPool) take(t *testing.T) *browserProcess {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := len(b.idle) - 1; last >= 0 {
		p := b.idle[last]
		b.idle = b.idle[:last]
		return p
	}
	p, err := startBrowser(chromium(t))
	if err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	b.all = append(b.all, p)
	return p
}

// put makes a browser available to other tests.
func (b *browserPool) put(p *browserProcess) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, p)
}

// close stops all browsers.
func (b *browserPool) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.all {
		p.close()
	}
}

func startBrowser(program string) (*browserProcess, error) {
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(),
		append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(program), chromedp.WindowSize(1280, 900),
			chromedp.NoSandbox, // tests may run as root
		)...)
	ctx, stop := chromedp.NewContext(allocator)
	closeAll := func() {
		if err := chromedp.Cancel(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the browser:", err)
		}
		stop()
		stopAllocator()
	}
	if err := chromedp.Do(ctx); err != nil {
		closeAll()
		return nil, err
	}
	return &browserProcess{ctx, closeAll}, nil
}

// chromium returns the browser's path, looking for Debian's executable name first.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("Chromium not found: install Debian's package chromium, as scripts/test does")
	return ""
}
