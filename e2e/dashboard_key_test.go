package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// usagePoint is a count of requests of a key.
type usagePoint struct {
	Scope   *string
	Outcome string
	Count   int
}

// TestDashboardKeyPage checks that the figures on a key's page are the API's in every period.
func TestDashboardKeyPage(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	const name = "mobile CI"
	d.key(name)
	d.shows("Usage", "Activity", "Access", "About", "Owner", "Unused")
	for label, period := range map[string]struct {
		step string
		bars int
	}{"24h": {"hour", 24}, "7d": {"hour", 168}, "30d": {"day", 30}, "90d": {"day", 90}} {
		d.pick(label)
		d.wait("the chart has the period",
			fmt.Sprintf(`document.querySelectorAll(".chart g[role=img]").length === %d`, period.bars))
		length := map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour}[period.step]
		from := time.Now().Truncate(length).Add(-time.Duration(period.bars-1) * length)
		points := read[struct{ Data []usagePoint }](d.dashboard, "tokens/"+d.id(name)+"/usage?step="+period.step+
			"&from="+from.UTC().Format(time.RFC3339)).Data
		sums := make(map[string][2]int)
		var all [2]int
		for _, point := range points {
			scope, column := "No matching route", 1
			if point.Scope != nil {
				scope = *point.Scope
			}
			if point.Outcome == "ok" {
				column = 0
			}
			sum := sums[scope]
			sum[column] += point.Count
			all[column] += point.Count
			sums[scope] = sum
		}
		if all[0] == 0 {
			continue // at night and on weekends
		}
		d.shows(grouped(all[0]) + " allowed")
		rows := evaluate[[][]string](d.browser, `[...document.querySelectorAll(".card .table tbody tr")].map((row) =>
			[...row.cells].map((cell) => cell.innerText))`)
		if len(rows) != len(sums) {
			t.Errorf("%s: the table has %d scopes, want %d", label, len(rows), len(sums))
		}
		for _, row := range rows {
			if sum := sums[row[0]]; row[1] != grouped(sum[0]) || row[2] != grouped(sum[1]) {
				t.Errorf("%s: the table says %q, want %d and %d", label, row, sum[0], sum[1])
			}
		}
		bars := evaluate[[]string](d.browser,
			`[...document.querySelectorAll(".chart g[role=img]")].map((bar) => bar.getAttribute("aria-label"))`)
		var charted [2]int
		for _, bar := range bars {
			_, counts, _ := strings.Cut(bar, ": ")
			var allowed, refused int
			if _, err := fmt.Sscanf(strings.ReplaceAll(counts, ",", ""), "%d allowed · %d refused", &allowed,
				&refused); err != nil {
				t.Fatalf("%q: %v", bar, err)
			}
			charted[0] += allowed
			charted[1] += refused
		}
		if charted != all {
			t.Errorf("%s: the chart's bars add up to %v, want %v", label, charted, all)
		}
	}
	d.click(`main a[href="#keys"]`)
	d.shows("GitHub Actions deploy")
	d.key("carol")
	d.click(`main a[href="#admin"]`)
	d.shows("erin (on call)")
	d.page("#key/000000000000")
	d.shows("This key doesn't exist. It may have been deleted.", "GitHub Actions deploy")
	d.quiet()
}

// TestDashboardRefusals checks that a key's page explains refused requests, that each fix works
// at the gate, and that Undo takes it back.
func TestDashboardRefusals(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	get := func(key string) listedToken { return read[listedToken](d, "tokens/"+tokenID(key)) }
	open := func(key, says string) {
		t.Helper()
		d.page("#key/" + tokenID(key))
		d.shows("Refused requests", says)
	}

	scopes := d.site.token("--name", "lacks a scope", "--scope", "unikernel:list")
	d.destroys(scopes)
	open(scopes, "/api/unikernel/destroy")
	d.press("Explain")
	d.shows("Refused — 403", "lacks unikernel:destroy")
	if got := evaluate[[]string](d.browser, `[...document.querySelectorAll(".explain :is(select, input)")].map(
		(control) => control.value)`); !slices.Equal(got, []string{"POST", "/api/unikernel/destroy", "127.0.0.1"}) {
		t.Errorf("the form of the question has %q", got)
	}
	d.press("Add scope unikernel:destroy")
	d.shows("may use it from its next request on")
	d.press("Add scope unikernel:destroy")
	d.shows(`Allowed unikernel:destroy for "lacks a scope".`)
	if !d.destroys(scopes) || !slices.Contains(get(scopes).Scopes, "unikernel:destroy") {
		t.Errorf("the key has the scopes %q", get(scopes).Scopes)
	}
	d.shows("Allowed.") // the explanation is renewed
	d.press("Undo")
	d.shows("Refused — 403")
	if d.destroys(scopes) {
		t.Error("Undo didn't remove the scope")
	}
	d.choose("Method", "GET")
	d.fill("Path", "nowhere")
	d.click(".explain form button")
	d.shows("The path must start with /")
	d.fill("Path", "/api/unikernels")
	d.fill("From IP address", "nowhere")
	d.click(".explain form button")
	d.shows("Enter an IP address")
	d.fill("From IP address", "192.0.2.1")
	d.click(".explain form button")
	d.shows("Allowed.")

	address := d.site.token("--name", "elsewhere", "--scope", "unikernel:list", "--allowed-ip", "192.0.2.0/24")
	if status := d.ask(address); status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
	open(address, "127.0.0.1")
	d.press("Allow 127.0.0.1")
	d.shows("may use it from its next request on")
	d.press("Allow 127.0.0.1")
	d.shows(`Allowed 127.0.0.1 for "elsewhere".`)
	if status := d.ask(address); status != http.StatusOK {
		t.Errorf("after the address was allowed: status %d", status)
	}
	d.press("Undo")
	d.eventually("the address isn't allowed any more", func() bool { return d.ask(address) == http.StatusForbidden })

	rate := d.site.token("--name", "too fast", "--scope", "unikernel:list", "--rate-limit", "1/1h")
	if first, second := d.ask(rate), d.ask(rate); first != http.StatusOK || second != http.StatusTooManyRequests {
		t.Errorf("statuses %d, %d", first, second)
	}
	open(rate, "Raise limit…")
	// The rows must stay when the page is updated: new ones would take the focus away.
	d.do(chromedp.Focus(d.byText("button", "Raise limit…")))
	d.ask(rate)
	d.shows("2 times since")
	if focused := evaluate[string](d.browser, `document.activeElement.textContent`); focused != "Raise limit…" {
		t.Errorf("after an update, the focus is on %q", focused)
	}
	d.press("Raise limit…")
	d.shows("Edit key")
	d.fill("Rate limit", "1000")
	d.press("Save changes")
	d.shows(`Updated "too fast".`)
	d.eventually("the key is allowed at the new rate", func() bool { return d.ask(rate) == http.StatusOK })

	disabled := d.site.token("--name", "switched off", "--scope", "unikernel:list")
	d.site.run("api-token", "disable", tokenID(disabled))
	d.ask(disabled)
	open(disabled, "Tried 1 time since it was disabled")
	d.click(".page-head .button.primary")
	d.shows(`Enabled "switched off".`)
	if status := d.ask(disabled); status != http.StatusOK {
		t.Errorf("after it was enabled: status %d", status)
	}
	d.quiet()
	d.site.checkLogs(scopes, address, rate, disabled, d.admin)
}

// TestDashboardKeyPageLive checks that a key's page follows what happens to the key: requests,
// removed scopes, the revocation and the use after it.
func TestDashboardKeyPageLive(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	key := d.site.token("--name", "CI", "--preset", "deploy")
	d.page("#key/" + tokenID(key))
	d.shows("No request with this key has been refused.", "Copy a curl command")
	d.ask(key)
	begun := time.Now()
	d.shows("1 allowed", "127.0.0.1 · curl/", "GET /api/unikernels")
	t.Logf("a request was shown after %s", time.Since(begun).Round(time.Millisecond))

	if !strings.Contains(d.text(), "Not used since the key was created") {
		t.Error("the page doesn't say since when scopes are unused")
	}
	d.press("Remove 5 unused scopes…")
	d.shows("Scopes to keep", "unikernel:create")
	d.press("Remove unused scopes")
	d.shows(`Removed the unused scopes of "CI".`)
	scopes := func() []string { return read[listedToken](d, "tokens/"+tokenID(key)).Scopes }
	if got := scopes(); !slices.Equal(got, []string{"unikernel:list"}) {
		t.Errorf("the key has the scopes %q", got)
	}
	d.press("Undo")
	d.shows(`Restored "CI".`, "Remove 5 unused scopes…")
	if got := scopes(); len(got) != 6 {
		t.Errorf("after Undo, the key has the scopes %q", got)
	}

	if _, stderr, code := d.site.run("api-token", "revoke", "--yes", tokenID(key)); code != 0 {
		t.Fatal(stderr)
	}
	d.shows("Revoked", "by Command line")
	d.ask(key)
	d.shows("Tried 1 time since it was revoked")
	d.ask(key)
	d.shows("Tried 2 times since it was revoked", "from 127.0.0.1 (curl/")
	if _, stderr, code := d.site.run("api-token", "delete", "--yes", tokenID(key)); code != 0 {
		t.Fatal(stderr)
	}
	d.wait("the page of a deleted key is left", `location.hash === "#keys"`)
	d.quiet()
}
