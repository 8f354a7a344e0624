package e2e

import (
	"encoding/csv"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// boundedSite is browserSite with a second account, whose keys must be bound to resources.
var boundedSite = strings.Replace(browserSite, "\t\taccount default {", `		account webshop {
			upstream_token {env.UPSTREAM}
			max_resources unikernel/web-* volume/web-*
		}
		account default {`, 1)

// chips waits until the form shows these resources.
func (d *dashboard) chips(want ...string) {
	d.t.Helper()
	const chips = `[...document.querySelectorAll("dialog .picker li code")].map((chip) => chip.textContent)`
	d.eventually("the form shows the resources "+strings.Join(want, ", "),
		func() bool { return slices.Equal(evaluate[[]string](d.browser, chips), want) })
}

// pasteLines pastes text, which may have several lines, into the element with the focus.
func (d *dashboard) pasteLines(text string) {
	d.t.Helper()
	d.script(`{const clipboardData = new DataTransfer();
		clipboardData.setData("text/plain", ` + quoteJS(text) + `);
		document.activeElement.dispatchEvent(
			new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}))}`)
}

// template chooses a template in the form.
func (d *dashboard) template(name string) {
	d.t.Helper()
	d.do(chromedp.Click(chromedp.Search(strings.Replace(templateButton, "%q", `"`+name+`"`, 1)), chromedp.NodeVisible))
}

// TestDashboardResources creates a key that is bound to resources with the keyboard, edits it,
// and removes its resources.
func TestDashboardResources(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, boundedSite)
	d.site.token("--name", "other", "--preset", "read", "--resource", "unikernel/suggested")
	d.site.backend.AddUnikernel("alice", "default", "running")
	d.site.expect(d.site.token("--preset", "read"), http.StatusOK) // now the gate knows its backend
	d.signIn()
	d.page("#keys")
	d.press("New API key")
	d.shows("What is the key for?")
	enter := func() { d.stroke("Enter", "Enter", "\r") }
	d.template("One unikernel")
	d.focusIs("Resources")
	d.hit("web-1")
	enter()
	d.chips("unikernel/web-1")
	d.wait("names of the backend and of another key are suggested",
		`[...document.activeElement.list.options].map(({value}) => value).join() === "running,suggested"`)
	d.hit("oops,", kb.Backspace)
	d.chips("unikernel/web-1")
	d.hit("Volume/db")
	enter()
	enter() // doesn't create a key
	d.chips("unikernel/web-1", "block/db")
	d.summary("Can list, watch, update and restart unikernels as default, " +
		"only web-1 (unikernels) and db (volumes), until")
	d.pasteLines("unikernel/api, unikernel/web-1\nblock/a\tinstance/default")
	d.chips("unikernel/web-1", "block/db", "unikernel/api", "block/a", "instance/default")
	d.accessible("the form with resources")
	d.checkDialog()
	for _, resource := range []string{"block/a", "instance/default", "unikernel/api"} {
		d.tabTo("Remove " + resource)
		d.hit(kb.Enter)
		d.focusIs("Resources")
	}
	d.chips("unikernel/web-1", "block/db")
	d.do(chromedp.SetValue(chromedp.CSS(`[aria-label="Type of resource"]`), "block"))
	d.do(chromedp.Focus(d.byText("label", "Resources") + `/..//input`))
	d.hit("Data-*") // is added without Enter, when the focus is outside of the field
	d.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	d.focusIs("Type of resource")
	d.chips("unikernel/web-1", "block/db")
	d.tabTo("Create key")
	d.chips("unikernel/web-1", "block/db", "block/Data-*")
	d.hit(kb.Enter)
	key := d.secret()
	d.keep()
	id := tokenID(key)
	check := func(want ...string) {
		t.Helper()
		if got := d.token(id).Resources; !slices.Equal(got, want) {
			t.Errorf("the key has the resources %q, want %q", got, want)
		}
	}
	check("block/data-*", "block/db", "unikernel/web-1")
	d.answers(key, http.StatusOK)

	d.act("One unikernel", "Edit")
	d.shows("Edit key")
	d.chips("block/data-*", "block/db", "unikernel/web-1")
	d.fill("Resources", "host/x")
	d.press("Save changes")
	d.eventually("the field has an error", func() bool {
		return strings.Contains(d.errors()["Resources"], "the types are instance, unikernel, block")
	})
	d.focusIs("Resources")
	d.accessible("the form with an error at the resources")
	d.checkDialog()
	d.press("Remove host/x")
	d.eventually("no error is left", func() bool { return len(d.errors()) == 0 })
	d.press("Remove block/db")
	d.fill("Resources", "web-2")
	d.fill("Name", "webshop")
	d.press("Save changes")
	d.shows(`Updated "webshop".`)
	check("block/data-*", "unikernel/web-1", "unikernel/web-2")

	d.act("webshop", "New key like this")
	d.chips("block/data-*", "unikernel/web-1", "unikernel/web-2")
	d.press("Cancel")
	d.act("webshop", "Edit")
	d.chips("block/data-*", "unikernel/web-1", "unikernel/web-2")
	d.do(chromedp.Focus(d.byText("label", "Resources") + `/..//input`))
	d.hit(kb.Backspace, kb.Backspace, kb.Backspace)
	d.chips()
	d.press("Save changes")
	d.gone()
	check()

	d.page("#audit")
	d.shows("resources", "no longer limited", "unikernel/web-2")
	d.quiet()
	d.site.checkLogs(key)
}

// TestDashboardResourcesAccount checks that the form fills in the resources to which an account
// limits its keys, and that the settings show them.
func TestDashboardResourcesAccount(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, boundedSite)
	d.signIn()
	d.page("#keys")
	d.newKey("webshop")
	d.chips()
	d.choose("Account", "webshop")
	d.chips("block/web-*", "unikernel/web-*")
	d.shows("Keys of account webshop can act only on block/web-* and unikernel/web-*.")
	d.accessible("the form with resources of the account")
	d.choose("Account", "default")
	d.chips()
	d.choose("Account", "webshop")
	d.press("Remove block/web-*")
	d.press("Remove unikernel/web-*")
	d.press("Create key")
	d.shows("Keys of account webshop must be limited to some resources.")
	d.fill("Resources", "api")
	d.press("Create key")
	d.eventually("the server refuses another resource", func() bool {
		return strings.Contains(d.errors()["Resources"], "within block/web-*, unikernel/web-*")
	})
	d.checkDialog()
	d.press("Remove unikernel/api")
	d.fill("Resources", "web-1")
	_, token := d.create()
	if token.Account != "webshop" || !slices.Equal(token.Resources, []string{"unikernel/web-1"}) {
		t.Errorf("got %+v", token)
	}
	d.page("#settings")
	d.shows("Resources its keys can act on", "unikernel/web-*", "Resource types", "volume")
	for _, width := range []int64{1280, 360} {
		d.do(chromedp.EmulateViewport(width, 800))
		d.accessible("the settings")
		if faults := d.layoutFaults(); faults != "" {
			t.Error(faults)
		}
	}
	d.quiet()
}

// TestDashboardResourcesLinks checks links with resources, and that a link or a template that
// asks for a resource doesn't lead to a key that is bound to none.
func TestDashboardResourcesLinks(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, boundedSite)
	d.allowClipboard()
	d.signIn()
	d.page("#new?name=Shop&preset=deploy&resources=volume/db,unikernel/web-*,host/x")
	d.shows("The link asked for resources host/x, which isn't here.")
	d.chips("block/db", "unikernel/web-*")
	d.summary("as default, only web-* (unikernels) and db (volumes), until")
	d.press("Copy link")
	d.eventually("the link has the resources",
		func() bool { return strings.Contains(d.clipboard(), "resources=block%2Fdb%2Cunikernel%2Fweb-*") })
	link := d.clipboard()
	d.press("Cancel")
	d.gone()
	d.page(strings.TrimPrefix(link, d.url))
	d.shows("A link filled in this form.")
	d.chips("block/db", "unikernel/web-*")
	d.hides("The link asked for")
	d.press("Cancel")
	d.gone()

	const unnamed = "Enter a name, or * for all."
	d.page("#new?name=Shop&preset=deploy&resources=host/x")
	d.shows("The link asked for resources host/x, which isn't here.")
	d.press("Create key")
	d.shows(unnamed)
	d.press("Cancel")
	d.gone()
	d.page("#keys")
	d.press("New API key")
	d.shows("What is the key for?")
	d.template("One unikernel")
	d.press("Create key")
	d.shows(unnamed)
	d.focusIs("Resources")
	d.template("Read only")
	d.hides(unnamed)
	d.template("One unikernel")
	d.fill("Resources", "*")
	_, token := d.create()
	if !slices.Equal(token.Resources, []string{"unikernel/*"}) {
		t.Errorf("the key has the resources %q", token.Resources)
	}
	if n := len(d.tokens()); n != 1 {
		t.Errorf("%d keys exist, want 1", n)
	}
	d.quiet()
}

// TestDashboardResourcesExplain checks the page of a key that is bound to resources: its facts,
// refused requests and explanations, and the column and the CSV file of the list.
func TestDashboardResourcesExplain(t *testing.T) {
	t.Parallel()
	d := openDashboardOf(t, boundedSite)
	key := d.site.token("--name", "web", "--preset", "full", "--resource", "unikernel/web-*")
	for _, body := range []string{`{"name":"api","albatross_instance":"default"}`,
		`{"name":"web-1","name":"api","albatross_instance":"default"}`} {
		curl(t, append(bearer(key), "-d", body, d.site.url("/api/unikernel/destroy"))...)
	}
	d.signIn()
	d.page("#key/" + tokenID(key))
	d.shows("unikernel/web-*", "Resource not allowed", "choose Explain and enter what it acts on",
		"It isn't clear what the request acts on", "Correct the client")
	d.press("Edit resources…")
	d.shows("Edit key")
	d.chips("unikernel/web-*")
	d.press("Cancel")
	d.gone()

	d.press("Explain")
	d.shows("Allowed.", "The key may act only on unikernel/web-*. To check what the request acts on")
	send := func(field, text, says string) {
		t.Helper()
		d.fill(field, text)
		d.click(".explain form button")
		d.shows(says)
	}
	send("Acts on", "unikernel/api", "This API key may not act on unikernel/api")
	d.shows("Refused — 403: resource not allowed.")
	send("Acts on", "nothing", "write a type, a slash and a name")
	d.accessible("an explanation with an error")
	send("Acts on", "instance/default, unikernel/web-1", "The request acts on instance/default, unikernel/web-1")
	send("Acts on", kb.Backspace, "To check what the request acts on")
	send("Body", `{"name":"api","albatross_instance":"default"}`, "This API key may not act on unikernel/api")
	send("Body", `{"name":"web-2","albatross_instance":"default"}`,
		"The request acts on instance/default, unikernel/web-2")
	send("Body", `{"name":"web-2","name":"api"}`, "Refused — 400: it isn't clear what the request acts on.")
	for _, width := range []int64{1280, 360} {
		d.do(chromedp.EmulateViewport(width, 800))
		d.accessible("the page of a bound key")
		if faults := d.layoutFaults(); faults != "" {
			t.Error(faults)
		}
	}
	d.do(chromedp.EmulateViewport(1280, 900))
	d.choose("Method", "GET")
	d.eventually("only other methods have a body",
		func() bool { return evaluate[bool](d.browser, `document.querySelector(".explain .body") === null`) })

	d.page("#keys")
	d.shows("web")
	d.press("Columns")
	d.choice("Resources")
	d.hit(kb.Escape)
	d.cell("web", "resources", "unikernel/web-*")
	file := d.download(func() { d.press("Export CSV") })
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(file, "\ufeff"))).ReadAll()
	if err != nil || len(records) != 2 {
		t.Fatalf("got records %q, error %v", records, err)
	}
	if i := slices.Index(records[0], "resources"); i < 0 || records[1][i] != "unikernel/web-*" {
		t.Errorf("got records %q", records)
	}

	if _, stderr, code := d.site.run("api-token", "edit", tokenID(key), "--resource", "none"); code != 0 {
		t.Fatal(stderr)
	}
	d.page("#key/" + tokenID(key))
	d.shows("allowed now")
	d.hides("Edit resources…")
	d.hides("Acts on")
	d.quiet()
	d.site.checkLogs(key)
}
