package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// auditEntry is an entry of the audit log.
type auditEntry struct {
	Time      time.Time
	Action    string
	Actor     string
	TokenID   *string `json:"token_id"`
	TokenName *string `json:"token_name"`
}

// entries returns the entries of the audit log that match the parameters, up to 200.
func (d *dashboard) entries(parameters url.Values) []auditEntry {
	d.t.Helper()
	parameters.Set("limit", "200")
	return read[struct{ Data []auditEntry }](d, "audit?"+parameters.Encode()).Data
}

// shownEntries waits until the audit page shows the given number of entries, and returns them.
func (d *dashboard) shownEntries(want int) []string {
	d.t.Helper()
	d.wait(fmt.Sprintf("%d entries are shown", want),
		fmt.Sprintf(`document.querySelectorAll(".entry").length === %d`, want))
	return evaluate[[]string](d.browser,
		`[...document.querySelectorAll(".entry")].map((entry) => entry.innerText.replace(/\s+/g, " "))`)
}

// filter chooses a value of a filter on the audit page.
func (d *dashboard) filter(label, value string) {
	d.t.Helper()
	control := `document.getElementById([...document.querySelectorAll(".filters label")].find((label) =>
		label.textContent === ` + quoteJS(label) + `).htmlFor)`
	d.wait("the filter offers "+value, `{const control = `+control+`; control.localName === "input" ||
		[...control.options].some((option) => option.value === `+quoteJS(value)+`)}`)
	d.script(`{const control = ` + control + `; control.value = ` + quoteJS(value) + `;
		control.dispatchEvent(new Event("change", {bubbles: true}))}`)
}

// TestDashboardAudit checks that the audit page tells in sentences with names what was changed,
// that filters are in the address and find what the API finds, and that exports are complete.
func TestDashboardAudit(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.page("#audit")
	all := d.entries(url.Values{})
	if len(all) < 32 {
		t.Fatalf("the demo store has only %d entries", len(all))
	}
	shown := strings.Join(d.shownEntries(len(all)), "\n")
	for _, sentence := range []string{
		"carol rotated GitHub Actions deploy", "carol disabled load test", "carol revoked GitLab runner",
		"carol deleted temporary debugging ", "carol created temporary debugging (deleted)",
		"carol changed docs preview", "+ unikernel:update", "Command line created carol",
		"image uploader → image upload", "old secret until",
	} {
		if !strings.Contains(shown, sentence) {
			t.Errorf("the page lacks %q:\n%s", sentence, shown)
		}
	}
	if days := evaluate[int](d.browser, `document.querySelectorAll("h2.day").length`); days < 20 {
		t.Errorf("the page has only %d days", days)
	}

	edits := d.entries(url.Values{"action": {"edit"}})
	d.filter("Action", "edit")
	d.shownEntries(len(edits))
	if got := d.hash(); got != "audit?action=edit" {
		t.Errorf("the address is #%s", got)
	}
	d.reload()
	d.shownEntries(len(edits))
	d.filter("Key", d.id("docs preview"))
	d.shownEntries(1)
	d.filter("Action", "")
	d.shownEntries(2)
	d.filter("From", "2001-01-01")
	d.filter("To", "2001-01-02")
	d.shows("No entries")
	d.click(`.filters a`)
	d.shownEntries(len(all))
	d.filter("Changed by", "caddy-admin")
	d.shownEntries(1)
	d.click(`.filters a`)
	d.shownEntries(len(all))

	// The browser's time zone is that of the test.
	first, last := all[len(all)-10].Time.Local(), all[5].Time.Local()
	midnight := func(at time.Time) time.Time {
		return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, at.Location())
	}
	between := d.entries(url.Values{"from": {midnight(first).Format(time.RFC3339)},
		"to": {midnight(last).AddDate(0, 0, 1).Format(time.RFC3339)}})
	d.filter("From", first.Format(time.DateOnly))
	d.filter("To", last.Format(time.DateOnly))
	d.shownEntries(len(between))
	if got := d.hash(); got != "audit?from="+first.Format(time.DateOnly)+"&to="+last.Format(time.DateOnly) {
		t.Errorf("the address is #%s", got)
	}
	file := d.download(func() { d.press("Export CSV") })
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(file, "\ufeff"))).ReadAll()
	if err != nil || len(records) != len(between)+1 {
		t.Fatalf("the CSV file has %d lines, %v", len(records), err)
	}
	d.shows(fmt.Sprintf("Exported %d entries.", len(between)))
	var exported []auditEntry
	file = d.download(func() { d.press("Export JSON") })
	if err := json.Unmarshal([]byte(file), &exported); err != nil || len(exported) != len(between) {
		t.Fatalf("the JSON file has %d entries, %v", len(exported), err)
	}
	column := make(map[string]int)
	for i, name := range records[0] {
		column[name] = i
	}
	for i, entry := range between {
		if exported[i].Action != entry.Action || !exported[i].Time.Equal(entry.Time) ||
			records[i+1][column["action"]] != entry.Action || records[i+1][column["actor_name"]] != "carol" {
			t.Errorf("entry %d is %v in JSON, %q in CSV, want %v", i, exported[i], records[i+1], entry)
		}
	}
	// Links lead to keys; deleted keys have no page.
	d.page("#audit?token_id=" + d.id("load test"))
	d.shownEntries(2)
	d.click(`.entry a[href="#key/` + d.id("load test") + `"]`)
	d.shows("Disabled")
	d.quiet()
}

// TestDashboardAuditLive checks that the audit page shows new entries, loads more on demand, and
// that a name that looks like a formula is harmless in the CSV file.
func TestDashboardAuditLive(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	const hostile = `=HYPERLINK("http://example.com","x")`
	for i := range 60 {
		d.site.token("--name", fmt.Sprintf("key %02d", i), "--preset", "read")
	}
	d.signIn()
	d.page("#audit")
	d.shownEntries(50)
	d.press("Load more")
	d.shownEntries(61) // the last one is the admin key's
	d.shows("Command line created carol")
	focus := func() string {
		t.Helper()
		return evaluate[string](d.browser, `document.activeElement.closest(".entry")?.innerText ?? ""`)
	}
	d.script(`document.querySelector(".entry a").focus()`)
	focused := focus()
	key := d.site.token("--name", hostile, "--preset", "read")
	if entries := d.shownEntries(62); !strings.Contains(entries[0], "Command line created "+hostile) {
		t.Errorf("the newest entry is %q", entries[0])
	}
	if now := focus(); now != focused || !strings.Contains(now, "key 59") {
		t.Errorf("a new entry moves the focus from %q to %q", focused, now)
	}
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(
		d.download(func() { d.press("Export CSV") }), "\ufeff"))).ReadAll()
	if err != nil || len(records) != 63 {
		t.Fatalf("the file has %d lines, %v", len(records), err)
	}
	found := false
	for _, record := range records {
		for _, cell := range record {
			found = found || cell == "'"+hostile
			if strings.HasPrefix(cell, "=") {
				t.Errorf("the file has the formula %q", cell)
			}
		}
	}
	if !found {
		t.Error("the file lacks the name")
	}
	d.site.run("api-token", "delete", "--yes", tokenID(key))
	if entries := d.shownEntries(63); !strings.Contains(entries[0], "deleted "+hostile+" ") ||
		!strings.Contains(entries[1], "created "+hostile+" (deleted)") {
		t.Errorf("the newest entries are %q", entries[:2])
	}
	d.quiet()
}
