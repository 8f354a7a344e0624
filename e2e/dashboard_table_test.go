package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// makeKeys creates keys with names from "pipeline 00001" on, and returns the first ones' secrets.
func (d *dashboard) makeKeys(many int64) (secrets [10]string) {
	d.t.Helper()
	var made atomic.Int64
	var makers sync.WaitGroup
	for range 100 { // in parallel, so that the calls share store commits
		makers.Go(func() {
			for n := made.Add(1); n <= many; n = made.Add(1) {
				body := fmt.Sprintf(`{"name":"pipeline %05d","preset":"read","expires_in":"90d",
					"metadata":{"owner":"team %d"}}`, n, n%7)
				response, err := d.site.admin().Post("http://caddy/api_tokens/v1/tokens", "application/json",
					strings.NewReader(body))
				if err != nil {
					d.t.Error(err)
					return
				}
				var created struct{ Token string }
				err = json.NewDecoder(response.Body).Decode(&created)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusCreated {
					d.t.Errorf("got status %d, %v", response.StatusCode, err)
					return
				}
				if n <= int64(len(secrets)) {
					secrets[n-1] = created.Token
				}
			}
		})
	}
	makers.Wait()
	return secrets
}

// firstRow is an expression for the name in the table's first row.
const firstRow = `(document.querySelector("tbody .k-name a")?.textContent ?? "")`

// TestDashboardManyKeys checks sorting, paging, searching, selecting and exporting with many
// keys, with the mouse and with the keyboard.
func TestDashboardManyKeys(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	many, total := 10_000, "of 10,000"
	if raceFlag == "-race=true" { // with the race detector, 10,000 keys take minutes
		many, total = 1000, "of 1,000"
	}
	name := func(n int) string { return fmt.Sprintf("pipeline %05d", n) }
	secrets := d.makeKeys(int64(many))
	d.signIn()
	d.page("#keys")
	d.shows("1–50 " + total)
	// timed logs how long the page takes to show the first row after calling do.
	timed := func(what, first string, do func()) {
		t.Helper()
		begun := time.Now()
		do()
		d.wait(what+": the first row is "+first, firstRow+` === `+quoteJS(first))
		t.Logf("%s: %v", what, time.Since(begun).Round(time.Millisecond))
	}
	sorted := func(direction string) {
		t.Helper()
		d.wait("the column is marked as sorted", words("th[aria-sort="+direction+"]")+` === "Name"`)
	}
	timed("sorting", "pipeline 00001", func() { d.press("Name") })
	sorted("ascending")
	timed("sorting with Enter", name(many), func() { d.do(chromedp.KeyEvent(kb.Enter)) })
	sorted("descending")
	timed("sorting with the space bar", "pipeline 00001", func() { d.do(chromedp.KeyEvent(" ")) })
	timed("sorting again", name(many), func() { d.do(chromedp.KeyEvent(kb.Enter)) })
	timed("the next page", name(many-50), func() { d.press("Next") })
	d.shows("51–100 " + total)
	timed("the next page with the keyboard", name(many-100), func() { d.do(chromedp.KeyEvent(kb.Enter)) })
	if got := d.hash(); got != "keys?sort=-name&page=3" {
		t.Errorf("the address is #%s", got)
	}
	timed("a reload", name(many-100), d.reload)
	timed("Back", name(many-50), func() { d.do(chromedp.NavigateBack()) })
	timed("the previous page", name(many), func() { d.press("Previous") })
	timed("the last page", name(many-49), func() { d.page(fmt.Sprint("#keys?sort=name&page=", many/50)) })
	d.wait("there is no page after the last one", `[...document.querySelectorAll(".pager button")].at(-1).disabled`)
	d.page("#keys?sort=name&page=999")
	d.wait("a page that doesn't exist leads to the last one", fmt.Sprintf(`location.hash.includes("page=%d")`, many/50))
	timed("searching", name(777), func() {
		d.page("#keys")
		d.do(chromedp.SendKeys(chromedp.CSS(".key-filters input"), "line 00777"))
	})
	d.shows("1 " + total)
	if got := d.hash(); got != "keys?q=line 00777" {
		t.Errorf("the address is #%s", got)
	}
	timed("clearing", "pipeline 00001", func() {
		d.press("Clear filters")
		d.shows("1–50 " + total)
		d.page("#keys?sort=name")
	})

	// The scroll position is restored by Back and by a reload.
	d.script(`document.querySelectorAll("tbody tr")[40].scrollIntoView({block: "center"})`)
	d.wait("the position is saved", `Object.values(JSON.parse(sessionStorage.getItem("mollygate-scroll") ?? "{}"))
		.includes(Math.round(scrollY))`)
	top := evaluate[int](d.browser, `Math.round(scrollY)`)
	back := func(what string) {
		t.Helper()
		d.wait(what+" restores the position",
			fmt.Sprintf(`Math.abs(scrollY - %d) < 3 && %s === "pipeline 00001"`, top, firstRow))
	}
	if top < 500 {
		t.Errorf("the page is scrolled only to %d", top)
	}
	d.reload()
	back("a reload")
	d.script(`document.querySelectorAll("tbody .k-name a")[40].click()`)
	d.shows("Activity", "pipeline 00041")
	d.do(chromedp.NavigateBack())
	back("Back")

	// What is done with a selection over pages is done to all keys in it.
	d.page("#keys?sort=name&q=pipeline 000")
	d.shows("99 " + total)
	d.click(`[aria-label="Select all on this page"]`)
	d.shows("50 selected")
	d.press("Next")
	d.shows("51–99 of 99")
	d.click(`[aria-label="Select all on this page"]`)
	d.shows("99 selected")
	d.click(`[aria-label="Select pipeline 00051"]`)
	d.shows("98 selected", "Select all 99")
	d.press("Select all 99")
	d.shows("99 selected")
	d.press("Edit tags")
	d.fill("Add tags", "blue, green")
	d.press("Edit tags")
	d.shows("Changed the tags of 99 keys.")
	if n := d.count("tag=blue"); n != 99 {
		t.Errorf("%d keys have the tag", n)
	}
	d.press("Undo")
	d.shows("Restored 99 keys.")
	if n := d.count("tag=blue"); n != 0 {
		t.Errorf("after Undo, %d keys have the tag", n)
	}

	d.page("#keys?sort=name&q=pipeline 0000")
	d.shows("9 " + total)
	for i := range 3 {
		d.click(fmt.Sprintf(`[aria-label="Select pipeline %05d"]`, i+1))
	}
	for _, test := range []struct {
		action, says string
		status       int
	}{
		{"Extend", "Extended 3 keys.", http.StatusOK},
		{"Disable", "Disabled 3 keys.", http.StatusUnauthorized},
		{"Revoke", "Revoked 3 keys.", http.StatusUnauthorized},
	} {
		d.shows("3 selected") // also after the action before
		d.script(`[...document.querySelectorAll(".selection button")].find((button) =>
			button.innerText === ` + quoteJS(test.action) + `).click()`)
		d.wait("the dialog is open", `document.querySelector("dialog[open]") !== null`)
		d.checkDialog()
		if test.action == "Extend" {
			d.check("1 year")
		}
		d.press(test.action)
		d.shows(test.says)
		for _, secret := range secrets[:3] {
			if status := d.ask(secret); status != test.status {
				t.Errorf("%s: status %d, want %d", test.says, status, test.status)
			}
		}
		if status := d.ask(secrets[3]); status != http.StatusOK {
			t.Errorf("%s: another key got status %d", test.says, status)
		}
	}
	if end := read[listedToken](d, "tokens/"+tokenID(secrets[0])).ExpiresAt; end.Before(time.Now().AddDate(0, 5, 0)) {
		t.Errorf("the extended key expires at %s", end)
	}

	d.page("#keys")
	d.shows("1–50 " + total)
	begun := time.Now()
	file := d.download(func() { d.press("Export CSV") })
	t.Logf("exporting: %v", time.Since(begun).Round(time.Millisecond))
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(file, "\ufeff"))).ReadAll()
	if err != nil || len(records) != many+1 {
		t.Errorf("the file has %d lines, %v", len(records), err)
	}
	for _, secret := range secrets {
		checkNoSecret(t, "the file", file, secret)
	}
	d.quiet()
}

// shownIDs is an expression for the IDs in the table, sorted.
const shownIDs = `[...document.querySelectorAll("tbody .k-name a")].map((link) => link.hash.slice(5)).sort().join()`

// TestDashboardFilters checks that each filter finds what the API finds, that it is in the
// address, and that it can be removed.
func TestDashboardFilters(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.page("#keys")
	all := d.count("kind=api")
	finds := func(what, parameters string) {
		t.Helper()
		var ids []string
		found := read[struct{ Data []listedToken }](d.dashboard, "tokens?limit=200&kind=api&"+parameters)
		for _, token := range found.Data {
			ids = append(ids, token.ID)
		}
		slices.Sort(ids)
		d.wait(what+" finds what the API finds", shownIDs+` === "`+strings.Join(ids, ",")+`"`)
		if len(ids) == 0 || len(ids) == all {
			t.Errorf("%s finds %d keys", what, len(ids))
		}
		d.wait(what+" is counted", words("h1")+`.endsWith("`+fmt.Sprintf("%d of %d", len(ids), all)+`")`)
	}
	d.wait("all keys are listed", fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, all))
	for _, status := range []string{"active", "expiring", "disabled", "revoked", "expired", "not_yet_valid"} {
		d.wait("there is a chip for "+status,
			`document.querySelectorAll(".key-filters button[aria-pressed]").length === 7`)
		d.script(`[...document.querySelectorAll(".key-filters button[aria-pressed]")].find((chip) =>
			chip.querySelector("span").textContent === ` + quoteJS(strings.ReplaceAll(status, "_", " ")) + `).click()`)
		finds(status, "status="+status)
		if got := d.hash(); got != "keys?status="+status {
			t.Errorf("the address is #%s", got)
		}
		d.wait("the chip shows the number of keys", words(".key-filters [aria-pressed=true] small")+
			fmt.Sprintf(` === "%d"`, d.count("kind=api&status="+status)))
	}
	d.press("Clear filters")
	soon := time.Now().AddDate(0, 0, 7).UTC().Format(time.RFC3339)
	long := time.Now().AddDate(0, 0, -90).UTC().Format(time.RFC3339)
	for _, test := range []struct{ list, item, hash, parameters string }{
		{"Account", "alice · 8", "account=alice", "account=alice"},
		{"Owner", "web team · 8", "owner=web team", "owner=web+team"},
		{"Tag", "ci · 6", "tag=ci", "tag=ci"},
		{"Scope", "block:download", "scope=block:download", "scope=block:download"},
		{"Usage", "never used", "usage=never", "never_used=true"},
		{"Usage", "unused for 90 days", "usage=90d", "unused_since=" + url.QueryEscape(long)},
		{"Expires", "within 7 days", "expires=7d", "status=active&expires_before=" + url.QueryEscape(soon)},
	} {
		d.wait("the list of choices is there", `[...document.querySelectorAll(".pill button")].some((button) =>
			button.innerText.trim() === "`+test.list+`")`)
		d.menu(test.list, test.item)
		finds(test.item, test.parameters)
		if got := d.hash(); got != "keys?"+test.hash {
			t.Errorf("the address is #%s", got)
		}
		d.reload()
		finds(test.item+" after a reload", test.parameters)
		d.click(`[aria-label^="Remove ` + test.list + `"]`)
		d.wait("all keys are listed", fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, all))
	}
	d.menu("Account", "alice · 8")
	d.menu("Tag", "staging · 4")
	d.do(chromedp.SendKeys(chromedp.CSS(".key-filters input"), "deploy"))
	finds("all three filters", "account=alice&tag=staging&q=deploy")
	d.do(chromedp.SendKeys(chromedp.CSS(".key-filters input"), "x"))
	d.shows("No key matches.")
	d.press("Clear filters")
	d.wait("all keys are listed", fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, all))
	if got := d.hash(); got != "keys" {
		t.Errorf("the address is #%s", got)
	}
	d.quiet()
}

// TestDashboardColumns checks that columns can be chosen and are remembered, that rows are low,
// and that the headings stay visible.
func TestDashboardColumns(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.do(chromedp.EmulateViewport(1920, 900))
	d.page("#keys")
	d.shows("GitHub Actions deploy")
	columns := func() string {
		return evaluate[string](d.browser,
			`[...document.querySelectorAll("thead th")].map((cell) => cell.innerText).join()`)
	}
	if got := columns(); got != ",Name,Status,Key,Account,Scopes,Requests,Expires,Last used,Actions" {
		t.Errorf("the columns are %s", got)
	}
	d.press("Columns")
	for _, item := range []string{"Owner", "Tags", "Account"} {
		d.choice(item) // the menu stays open
	}
	d.do(chromedp.KeyEvent(kb.Escape))
	const chosen = ",Name,Status,Key,Owner,Tags,Scopes,Requests,Expires,Last used,Actions"
	if got := columns(); got != chosen {
		t.Errorf("the columns are %s", got)
	}
	if focus := evaluate[string](d.browser, `document.activeElement.innerText`); focus != "Columns" {
		t.Errorf("the focus is on %q", focus)
	}
	d.reload()
	d.shows("GitHub Actions deploy", "web team")
	if got := columns(); got != chosen {
		t.Errorf("after a reload, the columns are %s", got)
	}
	// The longest names and the most columns don't make rows higher.
	d.site.token("--name", strings.Repeat("W", 100), "--preset", "full", "--account", "default")
	d.site.token("--name", strings.Repeat("long name ", 9)+"end", "--preset", "deploy", "--account", "alice")
	d.shows(strings.Repeat("W", 100))
	for _, width := range []int64{641, 820, 1024, 1280, 1920} {
		d.do(chromedp.EmulateViewport(width, 900))
		d.settle()
		if high := evaluate[[]string](d.browser, `[...document.querySelectorAll("tbody tr")].filter((row) =>
			row.getBoundingClientRect().height > 44.5).map((row) => row.innerText.slice(0, 60))`); len(high) > 0 {
			t.Errorf("in a window of %d pixels, these rows are higher than 44 pixels: %q", width, high)
		}
		d.script(`scrollTo(0, 500)`)
		d.settle()
		d.wait("the headings stay below the bar", `Math.abs(document.querySelector("thead th:nth-child(2)")
			.getBoundingClientRect().top - document.querySelector(".top").getBoundingClientRect().bottom) < 2`)
		if faults := d.layoutFaults(); faults != "" {
			t.Errorf("in a window of %d pixels: %s", width, faults)
		}
	}
	d.quiet()
}

// TestDashboardExport checks the CSV file of keys: it has all their properties, no secrets, and
// no texts that spreadsheets take for formulas.
func TestDashboardExport(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	names := []string{"=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", `"quoted", with; commas`, "plain"}
	var secrets []string
	for _, name := range names {
		secrets = append(secrets, d.site.token("--name", name, "--preset", "deploy", "--allowed-ip", "192.0.2.0/24",
			"--allowed-ip", "2001:db8::/32"))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
		"http://caddy/api_tokens/v1/tokens/"+tokenID(secrets[5]),
		bytes.NewReader([]byte(`{"metadata":{"owner":"=HYPERLINK(\"http://example.com\")","tags":"@a, b"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := d.site.admin().Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	_ = response.Body.Close()
	d.signIn()
	d.page("#keys?sort=name")
	d.shows("plain")
	file := d.download(func() { d.press("Export CSV") })
	for _, secret := range append(secrets, d.admin) {
		checkNoSecret(t, "the file", file, secret)
	}
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(file, "\ufeff"))).ReadAll()
	if err != nil || len(records) != len(names)+1 || !strings.HasPrefix(file, "\ufeff") {
		t.Fatalf("the file has %d lines, %v", len(records), err)
	}
	column := make(map[string]int)
	for i, name := range records[0] {
		column[name] = i
	}
	for _, record := range records[1:] {
		for _, cell := range record {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("the file has the formula %q", cell)
			}
		}
		name := strings.TrimPrefix(record[column["name"]], "'")
		i := slices.Index(names, name)
		if i < 0 || record[column["id"]] != tokenID(secrets[i]) || record[column["status"]] != "active" ||
			record[column["allowed_ips"]] != "192.0.2.0/24 2001:db8::/32" ||
			!strings.Contains(record[column["scopes"]], "unikernel:create") {
			t.Errorf("got record %q", record)
		}
		if name == "plain" && (record[column["owner"]] != `'=HYPERLINK("http://example.com")` ||
			record[column["tags"]] != "'@a, b") {
			t.Errorf("got owner %q, tags %q", record[column["owner"]], record[column["tags"]])
		}
	}

	// A selection is exported without the other keys.
	d.click(`[aria-label="Select plain"]`)
	d.shows("1 selected")
	file = d.download(func() {
		d.script(`[...document.querySelectorAll(".selection button")].find((button) =>
		button.innerText === "Export CSV").click()`)
	})
	if strings.Count(file, "\r\n") != 2 || !strings.Contains(file, `"plain"`) {
		t.Errorf("the file of the selection is %q", file)
	}
	d.quiet()
}

// TestDashboardTableLive checks that the table shows a request and a change from the command line
// soon, without losing the focus, the selection or an open menu.
func TestDashboardTableLive(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.page("#keys")
	d.shows("GitHub Actions deploy")
	cell := func(name, class string) string {
		return `(` + row(name) + `?.querySelector(".` + class + `")?.innerText ?? "")`
	}
	d.click(`[aria-label="Select canary"]`)
	d.click(`[aria-label="Select chat bot"]`)
	d.shows("2 selected")
	d.click(`[aria-label="Actions for autoscaler"]`)
	d.do(chromedp.KeyEvent(kb.ArrowDown))
	const focus = `document.activeElement.innerText.trim()`
	before := evaluate[string](d.browser, focus)
	kept := func() {
		t.Helper()
		if got := evaluate[string](d.browser, focus); got != before || got == "" {
			t.Errorf("the focus moved from %q to %q", before, got)
		}
		d.wait("the selection is kept", `document.querySelectorAll("tbody :checked").length === 2`)
		d.wait("the menu is open", `document.querySelector(".menu:popover-open") !== null`)
	}
	soon := func(what, expression string) {
		t.Helper()
		begun := time.Now()
		d.wait(what, expression)
		delay := time.Since(begun)
		t.Logf("%s: after %v", what, delay.Round(time.Millisecond))
		if delay > 5*time.Second {
			t.Errorf("%s only after %v", what, delay)
		}
	}
	count := evaluate[string](d.browser, cell("status page", "k-usage"))
	d.ask(d.keys["status page"].Secret.Reveal())
	soon("the request is counted", cell("status page", "k-usage")+` !== `+quoteJS(count))
	kept()
	d.wait("its address is shown", cell("status page", "k-last")+`.includes("127.0.0.1")`)
	if _, stderr, code := d.site.run("api-token", "disable", d.id("mobile CI")); code != 0 {
		t.Fatal(stderr)
	}
	soon("the key is disabled", cell("mobile CI", "k-status")+` === "disabled"`)
	kept()
	d.site.token("--name", "made elsewhere", "--preset", "read", "--account", "bob")
	soon("the new key is listed", row("made elsewhere")+` !== undefined`)
	kept()
	d.do(chromedp.KeyEvent(kb.Escape))
	d.wait("Escape closes the menu, and its button has the focus",
		`document.activeElement.getAttribute("aria-label") === "Actions for autoscaler"`)
	d.quiet()
}
