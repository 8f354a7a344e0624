package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// formatted returns a time as the dashboard writes it. The browser abbreviates September to
// four letters.
func formatted(at time.Time, layout string, zone *time.Location) string {
	return strings.Replace(at.In(zone).Format(layout), "Sep ", "Sept ", 1)
}

// TestDashboardZones checks that times follow the browser's time zone or UTC, as chosen, and that
// bars of days always name the UTC day.
func TestDashboardZones(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	for _, name := range []string{"America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		d.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, emulation.SetTimezoneOverride,
				emulation.SetTimezoneOverrideParams{TimezoneID: name})
			return err
		}))
		d.do(chromedp.Navigate("about:blank")) // what a page has formatted keeps the old time zone
		d.page("#overview?range=30d")
		d.shows("Needs attention")
		d.checkBars(30, 24*time.Hour, time.UTC)
		d.pick("24h")
		d.checkBars(24, time.Hour, zone)
		d.pick("7d")
		d.checkBars(168, time.Hour, zone)
		d.checkTimes(zone)

		// The switch changes all times immediately, and a reload keeps it.
		d.page("#key/" + d.id("nightly backup"))
		d.shows("Activity")
		created := d.keys["nightly backup"].Token.CreatedAt
		d.shows(formatted(created, "2 Jan 2006, 15:04", zone))
		d.menu("Your account", "UTC")
		d.do(chromedp.KeyEvent(kb.Escape))
		d.shows(formatted(created, "2 Jan 2006, 15:04", time.UTC))
		d.reload()
		d.shows(formatted(created, "2 Jan 2006, 15:04", time.UTC))
		d.page("#overview?range=24h")
		d.shows("Needs attention")
		d.checkBars(24, time.Hour, time.UTC)
		d.checkTimes(time.UTC)
		d.menu("Your account", "Local time")
		d.do(chromedp.KeyEvent(kb.Escape))
		d.page("#key/" + d.id("nightly backup"))
		d.shows(formatted(created, "2 Jan 2006, 15:04", zone))
	}
	d.quiet()
}

// checkBars checks the labels of a chart's bars, which end with the present hour or day.
func (d *demoDashboard) checkBars(n int, length time.Duration, zone *time.Location) {
	d.t.Helper()
	var got []string
	d.eventually(fmt.Sprintf("the %d bars have the right times", n), func() bool {
		got = evaluate[[]string](d.browser, `[...document.querySelectorAll(".chart g[role=img]")].map((bar) =>
			bar.getAttribute("aria-label").replace(/: .*/, ""))`)
		var want []string
		for i := range n {
			at := time.Now().Truncate(length).Add(time.Duration(i+1-n) * length)
			if length == time.Hour {
				want = append(want, formatted(at, "2 Jan, 15:04", zone))
			} else {
				want = append(want, formatted(at, "2 Jan (UTC)", time.UTC))
			}
		}
		return slices.Equal(got, want)
	})
}

// checkTimes checks all times on the audit page and in the table of keys.
func (d *demoDashboard) checkTimes(zone *time.Location) {
	d.t.Helper()
	d.page("#audit")
	d.shows("Command line")
	last := ""
	const entries = `[...document.querySelectorAll(".day, .entry")].map((part) => {
		const time = part.querySelector("time");
		return [part.className, time?.dateTime ?? "", (time ?? part).innerText];
	})`
	for _, entry := range evaluate[[][]string](d.browser, entries) {
		if entry[0] == "day" {
			last = entry[2]
			continue
		}
		at, err := time.Parse(time.RFC3339, entry[1])
		if err != nil {
			d.t.Fatal(err)
		}
		day, clock := formatted(at, "2 Jan 2006", zone), formatted(at, "15:04:05", zone)
		if last != day || entry[2] != clock {
			d.t.Errorf("%s is shown as %s, %s, want %s, %s", entry[1], last, entry[2], day, clock)
		}
	}
	if last == "" {
		d.t.Error("the audit log has no days")
	}
	d.page("#keys")
	d.shows("GitHub Actions deploy")
	times := evaluate[[][]string](d.browser, `[...document.querySelectorAll("td.k-expires time")].map((time) =>
		[time.dateTime, time.querySelector("span").innerText]).filter(([, words]) => words !== "revoked")`)
	for _, shown := range times {
		at, err := time.Parse(time.RFC3339, shown[0])
		if want := formatted(at, "2 Jan 2006", zone); err != nil || shown[1] != want {
			d.t.Errorf("%s is shown as %s, want %s", shown[0], shown[1], want)
		}
	}
	if len(times) < 10 {
		d.t.Errorf("only %d keys have an expiry", len(times))
	}
}

// TestDashboardTheme checks that the theme is that of the system until another one is chosen, and
// that the choice is remembered.
func TestDashboardTheme(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.shows("Get started")
	dark := `(getComputedStyle(document.body.parentElement).backgroundColor.match(/\d+/)[0] < 100)`
	for _, system := range []string{"dark", "light"} {
		d.scheme(system)
		d.menu("Your account", "System theme")
		d.do(chromedp.KeyEvent(kb.Escape)) // the menu stays open otherwise
		d.wait("the system's theme is used", fmt.Sprintf(`%s === %t`, dark, system == "dark"))
		for theme, want := range map[string]bool{"Dark theme": true, "Light theme": false} {
			d.menu("Your account", theme)
			d.do(chromedp.KeyEvent(kb.Escape))
			d.wait(theme+" is used", fmt.Sprintf(`%s === %t`, dark, want))
			d.reload()
			d.shows("Get started")
			d.wait(theme+" is used after a reload", fmt.Sprintf(`%s === %t`, dark, want))
		}
	}
	d.quiet()
}
