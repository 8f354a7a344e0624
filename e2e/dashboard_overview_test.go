package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// overview is the part of the admin API's overview that the tests compare.
type overview struct {
	Time     time.Time
	Requests struct{ Hours, Days []requestCount }
	Tokens   struct {
		Status    map[string]int
		Expiring  int
		Attention []struct {
			Reason string
			Count  int
			Items  []struct{ Token listedToken }
		}
	}
}

type requestCount struct {
	Time             time.Time
	Allowed, Refused int
}

// since returns the sums of the counts from a time on, as the dashboard groups them.
func since(counts []requestCount, from, to time.Time) (allowed, refused int) {
	for _, count := range counts {
		if !count.Time.Before(from) && count.Time.Before(to) {
			allowed += count.Allowed
			refused += count.Refused
		}
	}
	return allowed, refused
}

// grouped returns a number with separators, such as "12,810".
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// TestDashboardAttention checks that the overview lists a key for each reason why keys need
// attention, and that each remedy is one click away and takes effect.
func TestDashboardAttention(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.shows("Needs attention", "Used after revocation", "Expiring in 7 days", "Old secret still in use",
		"More access than needed", "Unused scopes", "Unused for 90 days")
	for _, group := range read[overview](d.dashboard, "overview").Tokens.Attention {
		for _, item := range group.Items {
			if group.Count > 0 && !strings.Contains(d.text(), item.Token.Name) {
				t.Errorf("%s: %q isn't shown", group.Reason, item.Token.Name)
			}
		}
	}
	get := func(name string) listedToken { return read[listedToken](d.dashboard, "tokens/"+d.id(name)) }
	secretOf := func(name string) string { return d.keys[name].Secret.Reveal() }
	// remedy presses a button of a key in the list, and another one in the dialog.
	remedy := func(button, name, says, confirm string) {
		t.Helper()
		d.page("#overview")
		d.shows("Needs attention", name)
		d.press(button + ": " + name)
		d.shows(says)
		if confirm != "" {
			d.press(confirm)
		}
	}
	before := *get("data science notebook").ExpiresAt
	remedy("Extend", "data science notebook", "New expiry", "Extend")
	d.shows(`Extended "data science notebook".`, "Undo")
	if after := *get("data science notebook").ExpiresAt; after.Before(before.AddDate(0, 1, 0)) {
		t.Errorf("the key expires at %s, before that at %s", after, before)
	}
	d.wait("the key is no longer listed",
		`document.querySelector("[aria-label='Extend: data science notebook']") === null`)
	d.press("Undo")
	d.shows(`Restored "data science notebook".`)
	if after := *get("data science notebook").ExpiresAt; !after.Equal(before) {
		t.Errorf("after Undo, the key expires at %s, not at %s", after, before)
	}

	remedy("Rotate", "security scan", "Keep the old secret working for", "")
	d.check("Stop it now")
	d.press("Rotate")
	fresh := d.secret()
	d.keep()
	if old, now := d.ask(secretOf("security scan")), d.ask(fresh); old != http.StatusUnauthorized ||
		now != http.StatusOK {
		t.Errorf("the old secret got status %d, the new one %d", old, now)
	}

	remedy("Revoke", "bob's scripts", "This can't be undone.", "")
	if status := d.ask(secretOf("bob's scripts")); status != http.StatusOK {
		t.Errorf("before the revocation: status %d", status)
	}
	d.press("Revoke")
	d.shows(`Revoked "bob's scripts".`)
	if status := d.ask(secretOf("bob's scripts")); status != http.StatusUnauthorized {
		t.Errorf("after the revocation: status %d", status)
	}

	for name, kept := range map[string][]string{
		"Terraform": {"unikernel:list", "unikernel:scale"}, "release bot": {"unikernel:list", "unikernel:update"},
	} {
		before := get(name).Scopes
		remedy("Remove unused", name, "Scopes to keep", "Remove unused scopes")
		d.shows(`Removed the unused scopes of "` + name + `".`)
		if got := get(name).Scopes; !slices.Equal(got, kept) || d.destroys(secretOf(name)) {
			t.Errorf("%s has the scopes %q", name, got)
		}
		d.press("Undo")
		d.shows(`Restored "` + name + `".`)
		if got := get(name).Scopes; !slices.Equal(got, before) || !d.destroys(secretOf(name)) {
			t.Errorf("after Undo, %s has the scopes %q", name, got)
		}
	}

	for _, link := range []struct{ name, label, says string }{
		{"GitLab runner", "See requests", "since it was revoked"},
		{"GitHub Actions deploy", "See who uses it", "The old secret was last used"}, // its page is used below
	} {
		d.page("#overview")
		d.shows("Needs attention", link.name)
		d.click(`a[aria-label="` + link.label + ": " + link.name + `"]`)
		d.shows(link.says)
		if got := d.hash(); got != "key/"+d.id(link.name) {
			t.Errorf("%s leads to #%s", link.label, got)
		}
	}
	d.press("Stop old secret now")
	d.shows("Stop the old secret now?")
	d.press("Stop old secret now")
	d.shows(`The old secret of "GitHub Actions deploy" has stopped working.`)
	if until := get("GitHub Actions deploy").PreviousValidUntil; until != nil && until.After(time.Now()) {
		t.Errorf("the old secret works until %s", until)
	}
	d.page("#overview")
	d.shows("Needs attention")
	d.wait("the key is no longer listed", `!document.querySelector(".attention h3.old_secret_in_use")`)
	d.quiet()
}

// TestDashboardFigures checks that the overview's figures are the API's, that the time range is
// kept in the address, and that the figures change as requests arrive.
func TestDashboardFigures(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	d.shows("Requests, 24 h")
	figure := func(title string) string {
		return evaluate[string](d.browser, `[...document.querySelectorAll(".tiles .card")].find((card) =>
			card.querySelector("h2").textContent === `+quoteJS(title)+`)?.querySelector(".figure").textContent ?? ""`)
	}
	figures := func() map[string]string {
		api := read[overview](d.dashboard, "overview")
		hour := api.Time.Truncate(time.Hour)
		allowed, refused := since(api.Requests.Hours, hour.Add(-23*time.Hour), api.Time)
		share := 100 * float64(refused) / float64(allowed+refused)
		percent := fmt.Sprintf("%.1f%%", share)
		if share >= 10 {
			percent = fmt.Sprintf("%.0f%%", share)
		}
		return map[string]string{"Active keys": fmt.Sprint(api.Tokens.Status["active"]),
			"Requests, 24 h": grouped(allowed + refused), "Refused, 24 h": percent,
			"Expiring in 7 days": fmt.Sprint(api.Tokens.Expiring)}
	}
	for title := range figures() {
		d.eventually("the figure of "+title+" is right", func() bool { return figure(title) == figures()[title] })
	}
	calls := figure("Requests, 24 h")
	d.ask(d.keys["status page"].Secret.Reveal())
	begun := time.Now()
	d.eventually("the figure changes", func() bool { return figure("Requests, 24 h") != calls })
	t.Logf("a request was shown after %s", time.Since(begun).Round(time.Millisecond))

	for _, test := range []struct {
		name       string
		bars, days int
	}{{"24h", 24, 1}, {"7d", 168, 7}, {"30d", 30, 30}, {"90d", 90, 90}} {
		d.pick(test.name)
		d.wait("the chart has the range", fmt.Sprintf(`document.querySelectorAll(".chart g[role=img]").length === %d`,
			test.bars))
		if got := d.hash(); test.name != "7d" && !strings.Contains(got, "range="+test.name) {
			t.Errorf("range %s is at #%s", test.name, got)
		}
		api := read[overview](d.dashboard, "overview")
		from, counts := api.Time.Truncate(time.Hour).Add(-time.Duration(test.bars-1)*time.Hour), api.Requests.Hours
		if test.bars < 100 && test.days > 1 {
			from, counts = api.Time.Truncate(24*time.Hour).AddDate(0, 0, 1-test.days), api.Requests.Days
		}
		allowed, refused := since(counts, from, api.Time)
		d.shows(grouped(allowed)+" allowed", grouped(refused)+" refused")
		d.reload()
		d.shows("Requests, 24 h")
		d.wait("the range is the same after a reload",
			fmt.Sprintf(`document.querySelectorAll(".chart g[role=img]").length === %d`, test.bars))
	}
	d.click(`.tiles a[href*="status=active"]`)
	d.shows(fmt.Sprintf("%d of %d", d.count("kind=api&status=active"), d.count("kind=api")))
	d.quiet()
}

// TestDashboardHealth checks that the overview and the settings show what isn't in order, and
// what to do about it.
func TestDashboardHealth(t *testing.T) {
	t.Parallel()
	d := openDemo(t)
	d.signIn()
	health := `(document.querySelector(".health")?.innerText ?? "")`
	d.wait("no backup is reported", health+`.includes("None yet")`)
	d.shows("Back up the store every day.", "caddy api-token backup tokens.db")
	if _, stderr, code := d.site.run("api-token", "backup", d.site.path("backup.db")); code != 0 {
		t.Fatal(stderr)
	}
	d.site.backend.Close()
	if status := d.ask(d.keys["status page"].Secret.Reveal()); status != http.StatusBadGateway {
		t.Errorf("without a backend: status %d", status)
	}
	d.wait("the backend's failure is reported", health+`.includes("did not respond")`)
	for _, page := range []string{"#settings", "#overview"} {
		d.page(page)
		d.shows("did not respond to the last request")
		d.wait("the backup is known", health+`.includes("Last backup") && !`+health+`.includes("None yet")`)
		if label := evaluate[string](d.browser, `[...document.querySelectorAll(".health dt")].find((name) =>
			name.innerText.includes("Backend")).querySelector("svg").getAttribute("aria-label")`); label == "OK" {
			t.Errorf("%s: the backend's icon says %q", page, label)
		}
	}
	d.quiet()
}

// TestDashboardFirstSteps checks that in an empty store, the overview leads to the first request,
// and that its steps are ticked off as they are done.
func TestDashboardFirstSteps(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.shows("Get started", "1. Create an API key", "2. Set MOLLYGATE_KEY", "3. See the first request")
	done := `document.querySelectorAll(".steps [aria-label=Done]").length`
	if n := evaluate[int](d.browser, done); n != 0 {
		t.Errorf("%d steps are done at the beginning", n)
	}
	d.accessible("first steps")
	d.click(".steps .button.primary")
	d.fill("Name", "first")
	d.press("read list and watch")
	d.press("Create key")
	key := d.secret()
	d.keep()
	d.wait("the first step is done", done+` === 1`)
	d.shows("curl --header @-")
	d.accessible("second step")
	if status := d.ask(key); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	d.shows("Requests, 24 h", "1 allowed")
	d.wait("the steps are gone", `document.querySelector(".steps") === null`)
	d.quiet()
}
