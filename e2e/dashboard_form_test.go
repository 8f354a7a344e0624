package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// limitedSite is browserSite with a second account, whose keys can only list unikernels, and
// with a shorter maximum lifetime.
var limitedSite = strings.Replace(browserSite, "\t\taccount default {", `		account limited {
			upstream_token {env.UPSTREAM}
			max_scopes unikernel:list
		}
		max_lifetime 1y
		account default {`, 1)

// templateButton is an XPath of a template's button in the form, by its name.
const templateButton = `//dialog//fieldset[@class="templates"]//button[starts-with(normalize-space(),%q)]`

// newKey opens the form for a new key, and fills in the required fields.
func (d *dashboard) newKey(name string) {
	d.t.Helper()
	d.press("New API key")
	d.shows("What is the key for?")
	d.fill("Name", name)
	d.press("read list and watch")
}

// create submits the form, and returns the key's secret and properties.
func (d *dashboard) create() (string, shownToken) {
	d.t.Helper()
	d.press("Create key")
	key := d.secret()
	d.checkDialog()
	d.keep()
	return key, d.token(tokenID(key))
}

// summary waits until the form's summary contains the texts.
func (d *dashboard) summary(texts ...string) {
	d.t.Helper()
	const summary = `document.querySelector("dialog[open] .summary")?.textContent ?? ""`
	for _, text := range texts {
		d.eventually("the summary contains "+text, func() bool {
			return strings.Contains(evaluate[string](d.browser, summary), text)
		})
	}
}

// date returns a time's date as the page shows it.
func (d *dashboard) date(t time.Time) string {
	d.t.Helper()
	return evaluate[string](d.browser, fmt.Sprintf(`new Intl.DateTimeFormat("en-GB",
		{day: "numeric", month: "short", year: "numeric"}).format(new Date(%d))`, t.UnixMilli()))
}

// TestDashboardFormLifetimes creates keys with all lifetimes that the form offers, and checks
// the dates that it shows for them.
func TestDashboardFormLifetimes(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.page("#keys")
	for i, lifetime := range []struct {
		value, words string
		months       int
	}{
		{"1mo", "1 month", 1}, {"3mo", "3 months", 3}, {"6mo", "6 months", 6},
		{"1y", "1 year", 12}, {"2y", "2 years", 24},
	} {
		d.newKey(lifetime.value)
		options := evaluate[[]string](d.browser,
			`[...document.querySelector("dialog [name=expires_in]").options].map((option) => option.textContent)`)
		if len(options) != 6 || options[5] != "until a date…" {
			t.Fatalf("got options %q", options)
		}
		words, date, _ := strings.Cut(options[i], " — ")
		if words != lifetime.words {
			t.Errorf("got option %q, want %s", options[i], lifetime.words)
		}
		d.choose("Expires", lifetime.value)
		d.summary("Can list and watch unikernels as default, until " + date)
		_, token := d.create()
		want := token.CreatedAt.AddDate(0, lifetime.months, 0)
		if want.Day() != token.CreatedAt.Day() { // the month is shorter
			want = want.AddDate(0, 0, -want.Day())
		}
		if !token.ExpiresAt.Equal(want) {
			t.Errorf("a key created at %s for %s expires at %s", token.CreatedAt, lifetime.words, token.ExpiresAt)
		}
		if shown := d.date(token.ExpiresAt); shown != date {
			t.Errorf("the form shows the end %s, but the key expires on %s", date, shown)
		}
	}

	d.newKey("until a date")
	d.choose("Expires", "date")
	d.shows("Date and time")
	d.press("Create key")
	d.shows("Enter a date and time.")
	d.checkDialog()
	d.set("expires_at", "2020-01-01T00:00")
	d.shows("That time has passed.")
	d.set("expires_at", "2199-01-01T00:00")
	d.shows("The latest possible end is")
	local := func(t time.Time) string {
		return evaluate[string](d.browser, fmt.Sprintf(
			`new Date(%d - new Date(%[1]d).getTimezoneOffset() * 60000).toISOString().slice(0, 16)`, t.UnixMilli()))
	}
	start, end := time.Now().AddDate(0, 0, 10).Truncate(time.Minute), time.Now().AddDate(0, 0, 20).Truncate(time.Minute)
	d.set("expires_at", local(end))
	d.summary("until " + d.date(end))
	if _, token := d.create(); !token.ExpiresAt.Equal(end) {
		t.Errorf("the key expires at %s, want %s", token.ExpiresAt, end)
	}

	d.newKey("not yet")
	d.choose("Expires", "date")
	d.set("expires_at", local(end))
	d.do(chromedp.Click(d.byText("summary", "Restrictions and limits"), chromedp.NodeVisible))
	d.set("not_before", local(end.Add(time.Hour)))
	d.press("Create key")
	d.shows("Choose a time before the key expires.")
	d.checkDialog()
	d.set("not_before", local(start))
	d.eventually("no error is left", func() bool { return len(d.errors()) == 0 })
	d.summary("starting "+d.date(start), "until "+d.date(end))
	key, token := d.create()
	if !token.NotBefore.Equal(start) || !token.ExpiresAt.Equal(end) {
		t.Errorf("the key is valid from %s to %s, want %s to %s", token.NotBefore, token.ExpiresAt, start, end)
	}
	d.answers(key, http.StatusUnauthorized)
	d.cell("not yet", "status", "not yet valid")
	d.quiet()
}

// TestDashboardForm creates a key with every field of the form, creates one like it, and
// removes the limits.
func TestDashboardForm(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, limitedSite)
	d.signIn()
	d.page("#keys")
	d.press("New API key")
	d.shows("What is the key for?")
	for _, template := range []struct {
		name, expires string
		scopes        []string
	}{
		{"GitHub Actions", "3mo", nil},
		{"Status page", "1y", []string{"monitoring:read", "unikernel:list"}},
		{"Nightly backup", "1y", []string{"block:download"}},
		{"Read only", "3mo", []string{"unikernel:console", "unikernel:list"}},
		{"GitLab CI", "3mo", nil},
	} {
		d.do(chromedp.Click(chromedp.Search(fmt.Sprintf(templateButton, template.name)), chromedp.NodeVisible))
		d.eventually("the template fills in the name", func() bool { return d.value("name") == template.name })
		if got := d.value("expires_in"); got != template.expires {
			t.Errorf("%s: the key is valid for %s", template.name, got)
		}
		got := d.selected()
		slices.Sort(got)
		if template.scopes != nil && !slices.Equal(got, template.scopes) ||
			template.scopes == nil && !slices.Contains(got, "unikernel:create") {
			t.Errorf("%s: got scopes %q", template.name, got)
		}
		d.checkDialog()
	}
	// A template keeps a name that the user typed.
	d.fill("Name", "Everything")
	d.do(chromedp.Click(chromedp.Search(fmt.Sprintf(templateButton, "Read only")), chromedp.NodeVisible))
	d.eventually("the template selects its scopes", func() bool { return len(d.selected()) == 2 })
	if got := d.value("name"); got != "Everything" {
		t.Errorf("the template changed the typed name to %q", got)
	}
	d.choose("Account", "limited")
	d.shows("Removed unikernel:console, which limited doesn't allow.")
	d.checkDialog()
	if got := d.selected(); !slices.Equal(got, []string{"unikernel:list"}) {
		t.Errorf("got scopes %q", got)
	}
	if !evaluate[bool](d.browser, `document.querySelector("dialog input[value='unikernel:create']").disabled`) {
		t.Error("a scope that the account doesn't allow can be selected")
	}
	d.shows("not allowed for limited")
	d.fill("Name", strings.Repeat("x", 101))
	d.press("Create key")
	d.shows("Use at most 100 characters.")
	d.fill("Name", "Everything")
	d.fill("Owner", "Team Shop")
	d.fill("Tags", "prod, eu")
	d.do(chromedp.Click(d.byText("summary", "Restrictions and limits"), chromedp.NodeVisible))
	d.fill("Allowed IP addresses", "127.0.0.0/8\nnonsense")
	d.fill("Rate limit", "many")
	d.fill("Quota", "1.5")
	d.press("Create key")
	d.eventually("three fields have errors", func() bool { return len(d.errors()) == 3 })
	d.shows(`"nonsense" isn't an IP address or range.`, "Enter a whole number up to 1,000,000,000, or leave this empty")
	d.checkDialog()
	d.fill("Rate limit", "1,000")
	d.set("window", "1h")
	d.fill("Quota", "10 000")
	d.set("period", "day")
	d.fill("Allowed IP addresses", "127.0.0.0/8, ::1")
	d.eventually("no error is left", func() bool { return len(d.errors()) == 0 })
	d.summary("Can list unikernels as limited", "from 2 networks")
	key, token := d.create()
	d.answers(key, http.StatusOK)
	check := func(what string, token shownToken) {
		t.Helper()
		got := fmt.Sprint(token.Account, token.Scopes, token.Metadata, token.AllowedIPs,
			string(token.RateLimit), string(token.Quota))
		const want = `limited[unikernel:list] map[owner:Team Shop tags:prod, eu] [127.0.0.0/8 ::1/128]` +
			`{"requests":1000,"window":"1h"}{"requests":10000,"period":"day"}`
		if got != want {
			t.Errorf("%s has %s, want %s", what, got, want)
		}
	}
	check("the key", token)

	d.act("Everything", "New key like this")
	d.eventually("the copy has a name", func() bool { return d.value("name") == "Everything copy" })
	if strings.Contains(d.text(), "What is the key for?") {
		t.Error("the form of a copy offers templates")
	}
	d.checkDialog()
	_, like := d.create()
	check("the copy", like)
	if like.ID == token.ID || like.Name != "Everything copy" {
		t.Errorf("the copy is %s %q", like.ID, like.Name)
	}

	d.act("Everything copy", "Edit")
	d.shows("Edit key", "keep "+d.date(like.ExpiresAt))
	for _, label := range []string{"Rate limit", "Quota", "Allowed IP addresses", "Owner", "Tags"} {
		d.fill(label, kb.Backspace)
	}
	d.checkDialog()
	d.press("Save changes")
	d.shows(`Updated "Everything copy".`)
	edited := d.token(like.ID)
	if edited.AllowedIPs != nil || string(edited.RateLimit) != "null" || string(edited.Quota) != "null" ||
		len(edited.Metadata) != 0 || !edited.ExpiresAt.Equal(like.ExpiresAt) {
		t.Errorf("the emptied fields are still set: %+v", edited)
	}
	d.quiet()
}

// TestDashboardFormGuard checks that a form asks before it drops what was typed, and that an
// untouched form doesn't.
func TestDashboardFormGuard(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.page("#keys")
	d.shows("No API keys yet")
	leave := map[string]func(){
		"Esc":    func() { d.do(chromedp.KeyEvent(kb.Escape)) },
		"Cancel": func() { d.press("Cancel") },
		"Close":  func() { d.press("Close") },
		"Back":   func() { d.script(`history.back()`) },
	}
	for name, try := range leave {
		d.page("#audit")
		d.page("#keys")
		d.shows("No API keys yet")
		d.press("New API key")
		d.shows("What is the key for?")
		try()
		d.gone()
		d.press("New API key")
		d.shows("What is the key for?")
		d.fill("Name", "typed")
		try()
		d.shows("Discard your changes?", "What you entered will be lost.")
		d.checkDialog()
		d.press("Keep editing")
		d.eventually(name+": the form stays", func() bool { return d.dialogs() == 1 && d.value("name") == "typed" })
		if !evaluate[bool](d.browser, `!dispatchEvent(new Event("beforeunload", {cancelable: true}))`) {
			t.Error("the browser wouldn't ask before it loads the page again")
		}
		if hash := evaluate[string](d.browser, `location.hash`); hash != "#keys" {
			t.Errorf("%s: the page changed to %s", name, hash)
		}
		try()
		d.shows("Discard your changes?")
		d.do(chromedp.KeyEvent(kb.Escape)) // closes only the question
		d.eventually(name+": the form stays", func() bool { return d.dialogs() == 1 })
		try()
		d.shows("Discard your changes?")
		d.press("Discard")
		d.gone()
		if !evaluate[bool](d.browser, `dispatchEvent(new Event("beforeunload", {cancelable: true}))`) {
			t.Errorf("%s: the browser still asks before it loads the page again", name)
		}
		if hash := evaluate[string](d.browser, `location.hash`); hash != "#keys" {
			t.Errorf("%s: closing the form changed the page to %s", name, hash)
		}
	}
	if n := len(d.tokens()); n != 0 {
		t.Errorf("%d keys exist, want none", n)
	}
	d.quiet()
}

// TestDashboardEditClash checks that an edit of a key that someone else changes meanwhile keeps
// what was typed, shows their change, and then saves both.
func TestDashboardEditClash(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	id := tokenID(d.site.mint(map[string]any{"name": "CI", "preset": "read",
		"metadata": map[string]string{"ticket": "7"}}))
	d.signIn()
	d.page("#keys")
	d.act("CI", "Edit")
	d.shows("Edit key")
	d.do(chromedp.Click(d.byText("summary", "Restrictions and limits"), chromedp.NodeVisible))
	d.shows("Other metadata is kept: ticket=7")
	d.fill("Name", "Mine")
	d.site.caddy.call("PATCH", "tokens/"+id,
		map[string]any{"name": "Theirs", "metadata": map[string]string{"owner": "them"}}, http.StatusOK)
	d.press("Save changes")
	d.shows("Someone else changed this key while you were editing. What you entered is kept.")
	d.do(chromedp.Click(d.byText("summary", "Show their change"), chromedp.NodeVisible))
	d.shows("Name: Theirs", "Owner: them")
	d.checkDialog()
	if name, owner := d.value("name"), d.value("owner"); name != "Mine" || owner != "them" {
		t.Errorf("the form has name %q and owner %q", name, owner)
	}
	d.press("Save changes")
	d.shows(`Updated "Mine".`)
	if got := d.token(id); got.Name != "Mine" || got.Metadata["owner"] != "them" || got.Metadata["ticket"] != "7" {
		t.Errorf("got %+v", got)
	}
	d.quiet()
}

// TestDashboardServerRefusals checks that the form shows the server's refusals at their fields,
// or above the buttons if they concern no field.
func TestDashboardServerRefusals(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	secret := d.site.token("--preset", "read")
	d.signIn()
	d.page("#keys")
	d.newKey("CI")
	d.do(chromedp.Click(d.byText("summary", "Restrictions and limits"), chromedp.NodeVisible))
	d.fill("Allowed IP addresses", "999.1.1.1")
	d.press("Create key")
	d.eventually("the address has an error", func() bool { return d.errors()["Allowed IP addresses"] != "" })
	if text := d.errors()["Allowed IP addresses"]; strings.Contains(text, "allowed_ips") {
		t.Errorf("the error contains a field's name of the API: %s", text)
	}
	d.checkDialog()
	d.fill("Allowed IP addresses", "127.0.0.1")
	d.eventually("no error is left", func() bool { return len(d.errors()) == 0 })
	d.set("owner", secret)
	d.press("Create key")
	d.eventually("the owner has an error", func() bool { return d.errors()["Owner"] != "" })
	d.checkDialog()
	d.fill("Owner", "me")
	key, _ := d.create()
	d.answers(key, http.StatusOK)
	d.quiet()
	d.site.checkLogs(secret, key)
}

// TestDashboardFormLinks checks that a link says what it asked for in vain, and that only the
// user's click creates a key.
func TestDashboardFormLinks(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, limitedSite)
	d.signIn()
	d.page("#new?name=Release&preset=read&expires_in=6mo&owner=shop&tags=a&allowed_ips=127.0.0.1")
	d.shows("A link filled in this form. Check it before you create the key.")
	d.summary("Can list and watch unikernels as default", "from 1 network")
	d.checkDialog()
	for name, want := range map[string]string{"name": "Release", "owner": "shop", "tags": "a",
		"allowed_ips": "127.0.0.1", "expires_in": "6mo", "account": "default"} {
		if got := d.value(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, unknown := range []struct{ link, says string }{
		{"account=nobody", "The link asked for account nobody, which isn't here."},
		{"preset=other", "The link asked for preset other, which isn't here."},
		{"scope=nonsense:x", "The link asked for scope nonsense:x, which isn't here."},
		{"scope=unikernel:*", "The link asked for scope unikernel:*, which a link can't set."},
		{"expires_in=9y", "The link asked for expires_in 9y, which a link can't set."},
		{"kind=admin", "The link asked for kind admin, which a link can't set."},
	} {
		d.press("Cancel")
		d.gone()
		d.page("#new?name=CI&" + unknown.link)
		d.shows("A link filled in this form.", unknown.says)
		d.checkDialog()
	}
	if n := len(d.tokens()); n != 0 {
		t.Errorf("the links created %d keys", n)
	}
	d.press("read list and watch")
	_, token := d.create()
	if token.Kind != "api" || token.Name != "CI" {
		t.Errorf("got a key of kind %s named %q", token.Kind, token.Name)
	}
	d.quiet()
}

// TestDashboardAdminKeys creates an admin key, and signs in with it.
func TestDashboardAdminKeys(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	d.page("#admin")
	d.cell("carol", "status", "active")
	d.press("New admin key")
	d.shows("Can sign in here and manage every key")
	d.checkDialog()
	if strings.Contains(d.text(), "Scopes") || strings.Contains(d.text(), "Quota") {
		t.Error("the form for an admin key has fields that admin keys don't have")
	}
	d.press("Create key")
	d.shows("Enter a name")
	d.fill("Name", "dave")
	d.press("Create key")
	key := d.secret()
	d.shows("Sign in with it at this address", d.url)
	d.checkDialog()
	if !strings.HasPrefix(key, "mma_") || strings.Contains(d.text(), "curl") {
		t.Error("it isn't an admin key, or the panel shows how to call Mollymawk")
	}
	d.keep()
	d.cell("dave", "status", "active")
	d.act("carol", "Revoke")
	d.shows("You are signed in with this key. Your session will end.")
	d.checkDialog()
	d.press("Revoke")
	d.shows("Your session has ended.")
	d.admin = key
	d.signIn()
	d.cell("carol", "status", "revoked")
	d.shows("dave")
	d.quiet()
	d.site.checkLogs(key)
}

// TestDashboardSessionEnds checks that a change in one tab shows up in another, and that a form
// loses nothing when the session ends: the user is asked to sign in again above the form.
func TestDashboardSessionEnds(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	other := &dashboard{browser: d.tab(), site: d.site, url: d.url, admin: d.admin}
	other.page("#keys")
	other.shows("No API keys yet")
	key := d.site.token("--name", "made elsewhere", "--preset", "read")
	other.cell("made elsewhere", "status", "active")

	d.page("#keys")
	d.newKey("Release")
	d.fill("Owner", "shop")
	other.menu("Your account", "Sign out")
	other.shows("Sign in to Mollygate")
	d.press("Create key")
	d.shows("Sign in to Mollygate", "Your session has ended. Sign in to continue; nothing you entered is lost.")
	if n := d.dialogs(); n != 2 {
		t.Errorf("%d dialogs are open, want the sign-in above the form", n)
	}
	// The sign-in can't be closed, and neither key nor Back gets to the form below it.
	d.do(chromedp.KeyEvent(kb.Escape))
	d.script(`history.back()`)
	d.shows("Sign in to Mollygate")
	if n := d.dialogs(); n != 2 {
		t.Errorf("after Escape and Back, %d dialogs are open, want the sign-in above the form", n)
	}
	if name, owner := d.value("name"), d.value("owner"); name != "Release" || owner != "shop" {
		t.Errorf("the form has lost the name or the owner: %q, %q", name, owner)
	}
	d.signIn()
	release := d.secret()
	d.checkDialog()
	d.answers(release, http.StatusOK)
	d.answers(key, http.StatusOK)
	if made := d.token(tokenID(release)); made.Name != "Release" || made.Metadata["owner"] != "shop" ||
		len(made.Scopes) != 2 {
		t.Errorf("got %+v", made)
	}
	if n := len(d.tokens()); n != 2 {
		t.Errorf("%d keys exist, want 2", n)
	}
	d.keep()
	d.quiet()
}
