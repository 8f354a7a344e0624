package gate

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

var errKeysPage = errors.New(
	"keys_page: write a full URL such as https://keys.example.com/, or a path that begins with /")

// CheckKeysPage returns an error if page isn't a valid keys page. The error doesn't quote it,
// because a misplaced value may be a secret. keyPaths is the backend's [Table.KeyPaths].
func CheckKeysPage(page string, keyPaths []string) error {
	u, err := url.Parse(page)
	switch {
	case strings.ContainsFunc(page,
		func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"\\<>^`{|}", r) }):
		return errors.New("keys_page: write printable ASCII, and percent-encode everything else")
	case err != nil, strings.HasPrefix(page, "//"), u.Scheme == "" && !strings.HasPrefix(page, "/"):
		return errKeysPage
	case u.Scheme == "":
		if slices.Contains(keyPaths, u.Path) {
			return fmt.Errorf("keys_page %s is a page that keys_page replaces, so it would redirect to itself",
				u.Path)
		}
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errKeysPage
	case u.User != nil:
		return errors.New("keys_page contains a user name or password, which everyone would see")
	}
	return nil
}

// keysPageHint tells a client where to get a key that works here.
func (c *Config) keysPageHint() string {
	if c.KeysPage == "" {
		return "Ask the operator for an API key."
	}
	return "Get an API key at " + c.KeysPage + " instead."
}

// backendKeyDetail returns the refusal detail for a key that looks like one of the backend's
// own.
func (c *Config) backendKeyDetail() string {
	return "This looks like one of " + c.backendName() + "'s own keys, which do not work here. " + c.keysPageHint()
}

// backendName returns the backend's name as shown in refusal details.
func (c *Config) backendName() string { return cmp.Or(c.Backend, "the backend") }

// replacesPage reports whether the backend creates its own keys at this path and the keys page
// replaces it.
func (c *Config) replacesPage(path string) bool {
	if c.KeysPage == "" {
		return false
	}
	if strings.Contains(path, "%") { // the backend decodes it
		if decoded, err := url.PathUnescape(path); err == nil {
			path = decoded
		}
	}
	return slices.Contains(c.KeyPaths, path)
}

// redirectToKeysPage redirects browsers from the backend's keys page to the operator's. It
// refuses all other requests for that page, because keys created by the backend don't work
// with the gate.
func (g *Gate) redirectToKeysPage(r *Request, d *Decision) {
	config := &g.config
	if r.Navigation {
		d.Redirect = config.KeysPage
		return
	}
	d.Refusal = Refuse(RouteNotAllowed)
	d.Refusal.Detail = "Keys created by " + config.backendName() + " do not work here. " + config.keysPageHint()
}

// refuseRoute refuses a request with a token to a path that isn't in the route table.
func (g *Gate) refuseRoute(r *Request, d *Decision) {
	d.Refusal = Refuse(RouteNotAllowed)
	config := &g.config
	if !slices.Contains(config.SessionPaths, r.Path) {
		return
	}
	d.Refusal.Detail = "This path works only with a browser session, not with an API key."
	if config.replacesPage(r.Path) {
		d.Refusal.Detail += " " + config.keysPageHint()
	}
}
