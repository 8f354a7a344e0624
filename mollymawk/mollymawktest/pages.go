package mollymawktest

import (
	"fmt"
	"net/http"
	"strings"
)

// pages returns the browser pages by path. A page contains only its title and, for
// sessions, the user's name. Scripts also need a CSRF value, which sessions receive in a
// response header.
func (s *Server) pages() map[string]route {
	pages := map[string]route{
		"/style.css": {http.MethodGet, public,
			func(c *call) { c.respond(http.StatusOK, "text/css", "body { margin: 0 }\n") }, false},
		"/albatross/instances": {http.MethodGet, public,
			func(c *call) { c.redirect("/select/instance?callback="+percentEncode("/dashboard"), "") }, false},
	}
	add := func(access access, handle func(*call), paths ...string) {
		for _, path := range paths {
			pages[path] = route{http.MethodGet, access, handle, false}
		}
	}
	add(public, (*call).guestPage, "/", "/sign-in", "/sign-up")
	add(bySession, (*call).userPage, "/dashboard", "/account", "/tokens", "/usage", "/"+s.blockWord()+"s",
		"/select/instance",
		"/verify-email", "/auth/verify", "/unikernel/deploy", "/unikernel/info", "/unikernel/update",
		"/unikernel/update/compare-changes", "/unikernel/console")
	add(byAdmin, (*call).userPage, "/admin/users", "/admin/user/profile", "/admin/user/unikernels",
		"/admin/user/policy",
		"/admin/u/policy/edit", "/admin/settings/albatross", "/admin/settings/email", "/admin/albatross/errors")
	return pages
}

func (c *call) guestPage() { c.respond(http.StatusOK, "text/html", html(c.path, "")) }

// userPage responds with a page for a signed-in user and issues a new CSRF value.
func (c *call) userPage() {
	agent, _ := c.head.last("user-agent")
	c.srv.mu.Lock()
	csrf := c.user.addCookie(csrfCookie, csrfLifetime, agent, c.srv.now()).value
	c.srv.mu.Unlock()
	c.respond(http.StatusOK, "text/html", html(c.path, `<p id="user">`+escapeHTML(c.user.name)+`</p>`),
		field{"X-MOLLY-CSRF", csrf})
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func escapeHTML(s string) string { return htmlEscaper.Replace(s) }

func html(title, content string) string {
	return "<!DOCTYPE html>\n" + `<html xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="UTF-8"/><title>` +
		escapeHTML(title) +
		`</title></head><body>` + content + `</body></html>`
}

// errorPage returns an error page. Its text is a JSON string that is escaped a second time.
func errorPage(status int, title, text string) string {
	return html(title, fmt.Sprintf(
		`<section><p>Error %d</p><p>%s</p><p>%s</p></section>`,
		status, escapeHTML(title), escapeHTML(escaped(encode(text)))))
}
