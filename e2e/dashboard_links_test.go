package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
)

// TestDashboardLinks checks that a link fills in only the form's visible fields, that the form
// says a link filled them in, and that unknown pages and names that every JavaScript object has
// show that there is no such page.
func TestDashboardLinks(t *testing.T) {
	t.Parallel()
	d := openDashboard(t)
	d.signIn()
	for _, link := range []string{
		"#new?name=CI&kind=admin", "#new?name=CI&kind=admin&scope=*", "#new?kind=ADMIN&name=CI&scope=unikernel:*",
		"#new?name=CI&scope=*&scope=unikernel:list",
		"#new?name=CI&scope=%2A", "#new?name=CI&scope=unikernel:%2a&kind=%61dmin",
	} {
		d.page("#keys")
		d.page(link)
		d.shows("New API key", "A link filled in this form. Check it before you create the key.", "Scopes")
		if strings.Contains(d.text(), "every key") || d.value("name") != "CI" {
			t.Errorf("%s: the form isn't for an API key, or has the name %q", link, d.value("name"))
		}
		if asked := strings.Contains(link, "*") || strings.Contains(link, "kind"); asked &&
			!strings.Contains(d.text(), "a link can't set") {
			t.Errorf("%s: the form doesn't say what it ignored", link)
		}
		want := strings.Count(link, "unikernel:list")
		if n := len(d.selected()); n != want {
			t.Errorf("%s: %d scopes are selected, want %d", link, n, want)
		}
		d.press("Cancel")
	}
	d.press("New API key")
	d.shows("What is the key for?")
	if strings.Contains(d.text(), "A link filled in") {
		t.Error("the form claims that a link filled it in, but there was no link")
	}
	d.press("Cancel")
	for _, name := range []string{"constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "constructor/x",
		"toString?x", "nothing"} {
		d.page("#audit")
		d.shows("Command line")
		d.page("#" + name)
		d.shows("There is no such page")
		if n := evaluate[int](d.browser, `document.querySelectorAll("nav a[aria-current]").length`); n != 0 {
			t.Errorf("#%s: a page is marked as the current one", name)
		}
	}
	d.click("main a[href='#overview']")
	d.shows("Get started")
	d.quiet()
}

// documentation matches links to the documentation in the dashboard's modules and pages. The
// first group is the page in docs, the second one the fragment.
var documentation = regexp.MustCompile(`/([a-z]+\.md)(?:#([^"'` + "`" + `\s]+))?`)

// headings returns the fragments of the headings in a page, as GitHub makes them.
func headings(t *testing.T, page string) (fragments []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
	for _, heading := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(string(text), -1) {
		fragments = append(fragments,
			strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-"))
	}
	return fragments
}

// TestDashboardDocumentation checks that all links from the dashboard to the documentation, in
// its sources and on its pages, lead to headings that exist.
func TestDashboardDocumentation(t *testing.T) {
	t.Parallel()
	links := make(map[[2]string]bool)
	collect := func(text string) {
		for _, link := range documentation.FindAllStringSubmatch(text, -1) {
			links[[2]string{link[1], link[2]}] = true
		}
	}
	sources, err := filepath.Glob("../admin/dashboard/static/*.js")
	if err != nil || len(sources) < 10 {
		t.Fatalf("found %d modules, %v", len(sources), err)
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		collect(string(text))
	}
	if len(links) < 2 {
		t.Errorf("the modules have only %d links", len(links))
	}
	const code = "${code}"
	for _, refusal := range gate.Codes() {
		if links[[2]string{"errors.md", code}] {
			links[[2]string{"errors.md", string(refusal)}] = true
		}
	}
	delete(links, [2]string{"errors.md", code})

	d := openDashboard(t)
	key := d.site.token("--name", "CI", "--scope", "unikernel:list", "--allowed-ip", "192.0.2.0/24")
	if d.ask(key) != http.StatusForbidden {
		t.Error("the gate doesn't refuse the address")
	}
	d.signIn()
	for hash, says := range map[string]string{
		"#settings": "Notifications", "#key/" + tokenID(key): "ddress not allowed",
	} {
		d.page(hash)
		d.shows(says)
		found := evaluate[[]string](d.browser,
			`[...document.querySelectorAll("a[href^='https://github.com/mollygate/mollygate/blob/main/docs']")]
				.map((link) => link.href)`)
		if len(found) == 0 {
			t.Errorf("%s has no link to the documentation", hash)
		}
		collect(strings.Join(found, "\n"))
	}
	for link := range links {
		if found := headings(t, link[0]); link[1] != "" && !slices.Contains(found, link[1]) {
			t.Errorf("docs/%s has no heading for #%s", link[0], link[1])
		}
	}
	d.quiet()
}
