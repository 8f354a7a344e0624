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
	"keys_page: write a whole URL such as https://keys.example.com/, or a path that begins with /")

// CheckKeysPage returns an error that says what is wrong with a keys page. It doesn't
// quote it: a value in the wrong place may be a secret. keyPaths are as in [Table].
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
			return fmt.Errorf("keys_page %s is the page that it stands for: requests for it would be sent to itself",
				u.Path)
		}
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errKeysPage
	case u.User != nil:
		return errors.New("keys_page has a user or password in it: everyone would see them")
	}
	return nil
}

// whereKeysAre is where clients get keys that work here.
func (c *Config) whereKeysAre() string {
	if c.KeysPage == "" {
		return "Ask the operator for an API key."
	}
	return "Get an API key at " + c.KeysPage + " instead."
}

// ownKeyDetail is said to a key that looks like the backend's own.
func (c *Config) ownKeyDetail() string {
	return "This looks like one of " + c.backend() + "'s own keys, which do not work here. " + c.whereKeysAre()
}

// backend is what details call the backend.
func (c *Config) backend() string { return cmp.Or(c.Backend, "the backend") }

// replacesPage reports whether a path is one where the backend makes keys of its own,
// while the operator has another page for that.
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

// keysElsewhere sends a browser that wants the backend's page of keys to the operator's,
// and refuses all else there: keys that the backend makes would not work here.
func (g *Gate) keysElsewhere(r *Request, d *Decision) {
	config := &g.config
	if r.Navigation {
		d.Redirect = config.KeysPage
		return
	}
	d.Refusal = Refuse(RouteNotAllowed)
	d.Refusal.Detail = "Keys that " + config.backend() + " makes do not work here. " + config.whereKeysAre()
}

// refuseRoute refuses a token on a path that no token opens.
func (g *Gate) refuseRoute(r *Request, d *Decision) {
	d.Refusal = Refuse(RouteNotAllowed)
	config := &g.config
	if !slices.Contains(config.SessionPaths, r.Path) {
		return
	}
	d.Refusal.Detail = "This path works only with a browser's session, not with an API key."
	if config.replacesPage(r.Path) {
		d.Refusal.Detail += " " + config.whereKeysAre()
	}
}
