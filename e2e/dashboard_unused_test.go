package e2e

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// TestDashboardUnusedResources checks that the overview lists a key that uses only some of its
// resources, and that one click removes the others.
func TestDashboardUnusedResources(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	upstream := backend.AddToken("alice", "gate", 24*time.Hour)
	c := newCaddy(t, map[string]string{"BACKEND": backend.Addr(), "UPSTREAM": upstream})
	id, admin := fillWithUnused(t, c.path("tokens.db"))
	c.start(browserSite)
	d := &dashboard{browser: newBrowser(t), site: &site{caddy: c, backend: backend, upstream: upstream},
		url: "http://keys.localhost:" + c.env["HTTP"] + "/", admin: admin}
	d.open(d.url)
	d.signIn()
	d.shows("Needs attention", "Unused resources", "2 resources not used in 90 days: unikernel/api and unikernel/db.")
	resources := func() []string {
		return read[struct{ Resources []string }](d, "tokens/"+id).Resources
	}
	d.press("Remove unused: webshop")
	d.shows("Remove unused resources of", "Resources to keep", "unikernel/web-*")
	d.press("Remove unused resources")
	d.shows(`Removed the unused resources of "webshop".`)
	if got := resources(); len(got) != 1 || got[0] != "unikernel/web-*" {
		t.Errorf("got the resources %v", got)
	}
	d.wait("the key is no longer listed", `!document.querySelector(".attention h3.unused_resources")`)
	d.press("Undo")
	d.shows(`Restored "webshop".`)
	if got := resources(); len(got) != 3 {
		t.Errorf("after Undo: got the resources %v", got)
	}
	d.page("#key/" + id)
	d.shows("Unused resources", "unikernel/api", "Not used since the key was created")
	d.press("Remove 2 unused resources…")
	d.shows("Remove unused resources of", "Resources to keep")
	d.press("Remove unused resources")
	d.shows(`Removed the unused resources of "webshop".`)
	d.wait("they are no longer shown", `!document.body.innerText.includes("Unused resources")`)
	if got := resources(); len(got) != 1 {
		t.Errorf("got the resources %v", got)
	}
	d.quiet()
}

// fillWithUnused creates a store with a key that is 20 days old and uses one of its three
// resources, and returns the key's ID and the secret of an admin key.
func fillWithUnused(t *testing.T, path string) (id, admin string) {
	t.Helper()
	file, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().AddDate(0, 0, -20)
	var clock atomic.Pointer[time.Time] // the store reads it in the background
	clock.Store(&now)
	store, err := tokenstore.Open(file, tokenstore.Options{FlushInterval: -1,
		Clock: tokenstore.ClockFunc(func() time.Time { return *clock.Load() })})
	if err != nil {
		t.Fatal(err)
	}
	types := []token.ResourceType{{Name: "unikernel"}}
	policy := token.Policy{Prefixes: token.Prefixes{"mm"}, Accounts: []string{"default"}, Catalog: token.Catalog{
		Scopes:        []token.CatalogScope{{Scope: token.Scope{Name: "unikernel:restart"}}},
		ResourceTypes: types}}
	year := token.Expiry{ExpiresAt: now.AddDate(1, 0, 0)}
	actor := tokenstore.Actor{Name: "test"}
	webshop, secret, err := store.Create(policy, token.Draft{Kind: token.KindAPI, Name: "webshop",
		Scopes: token.Grants{"unikernel:restart"}, Expiry: year,
		Resources: []string{"unikernel/web-*", "unikernel/api", "unikernel/db"}}, actor)
	if err != nil {
		t.Fatal(err)
	}
	_, adminSecret, err := store.Create(policy, token.Draft{Kind: token.KindAdmin, Name: "carol", Expiry: year}, actor)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := policy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	match, err := store.Authenticate(credential, now)
	if err != nil {
		t.Fatal(err)
	}
	used := time.Now().Add(-time.Hour)
	clock.Store(&used)
	store.CountAllowedOn(match, "unikernel:restart", []string{"unikernel/web-*"}, tokenstore.LastUse{Time: used})
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return webshop.ID.String(), adminSecret.Reveal()
}
