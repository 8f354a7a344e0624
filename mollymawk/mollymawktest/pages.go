package mollymawktest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// page is a route that answers GET with something to look at.
type page struct {
	access access
	handle func(*call)
}

// content makes the inner part of a page, with a CSRF value for its forms. It
// answers itself if it can't.
type content func(c *call, csrf string) (html string, ok bool)

func (s *Server) pages() map[string]page {
	blocks := "/" + s.blockWord() + "s"
	file := func(contentType, body string) page {
		return page{public, func(c *call) { c.respond(http.StatusOK, contentType, body) }}
	}
	signedIn := func(title string, inside content) page {
		return page{bySession, func(c *call) { c.show(title, inside) }}
	}
	admin := func(title string, inside content) page {
		return page{byAdmin, func(c *call) { c.show(title, inside) }}
	}
	return map[string]page{
		"/":                                 file("text/html", guestPage("Deploy unikernels with ease", "<h1>Deploy unikernels with ease</h1>")),
		"/main.js":                          file("text/javascript", asset("main.js")),
		"/style.css":                        file("text/css", asset("style.css")),
		"/grafana.json":                     file("application/json", asset("grafana.json")),
		"/images/robur.png":                 file("image/png", images().png),
		"/images/dashboard_1.png":           file("image/png", images().png),
		"/images/molly_bird.jpeg":           file("image/jpeg", images().jpeg),
		"/images/albatross_1.png":           file("image/jpeg", images().jpeg),
		"/images/mirage_os_1.png":           file("image/jpeg", images().jpeg),
		"/sign-in":                          {public, (*call).signInPage},
		"/sign-up":                          {public, (*call).signUpPage},
		"/albatross/instances":              {public, func(c *call) { c.redirect("/select/instance?callback="+percentEncode("/dashboard"), "") }},
		"/dashboard":                        signedIn("Dashboard", (*call).dashboard),
		"/account":                          signedIn("Account", (*call).accountPage),
		"/tokens":                           signedIn("Tokens", (*call).tokensPage),
		"/select/instance":                  {bySession, (*call).selectInstance},
		"/verify-email":                     {bySession, (*call).verifyEmail},
		"/auth/verify":                      {bySession, (*call).verifyToken},
		blocks:                              signedIn("Block devices", onInstance(blocks, (*call).blocksPage)),
		"/usage":                            signedIn("Usage", onInstance("/usage", (*call).usagePage)),
		"/unikernel/deploy":                 signedIn("Deploy a Unikernel", onInstance("/unikernel/deploy", (*call).deployPage)),
		"/unikernel/info":                   signedIn("Unikernel", onInstance("", (*call).unikernelPage)),
		"/unikernel/update":                 signedIn("Update", onInstance("", (*call).unikernelPage)),
		"/unikernel/update/compare-changes": signedIn("Update", onInstance("", (*call).unikernelPage)),
		"/unikernel/console":                {bySession, (*call).consolePage},
		"/admin/users":                      admin("Users", (*call).usersPage),
		"/admin/user/profile":               admin("Profile", (*call).userPage),
		"/admin/user/unikernels":            admin("Unikernels", (*call).userPage),
		"/admin/user/policy":                admin("Policy", (*call).userPage),
		"/admin/u/policy/edit":              admin("Edit policy", onInstance("", (*call).policyPage)),
		"/admin/settings/albatross":         admin("Albatross Settings", (*call).instancesPage),
		"/admin/settings/email":             admin("Email Settings", (*call).emailPage),
		"/admin/albatross/errors":           admin("Albatross Errors", onInstance("", (*call).errorsPage)),
	}
}

// show answers with a page for who is signed in.
func (c *call) show(title string, inside content) {
	csrf, ok := c.newCSRF()
	if !ok {
		return
	}
	if html, ok := inside(c, csrf); ok {
		c.respond(http.StatusOK, "text/html", c.layout(title, csrf, html), field{"X-MOLLY-CSRF", csrf})
	}
}

// newCSRF gives the user a CSRF value for the forms of a page, or answers.
func (c *call) newCSRF() (string, bool) {
	agent, _ := c.head.last("user-agent")
	value := ""
	s := c.srv
	s.mu.Lock()
	err := s.persist()
	if err == nil {
		value = c.user.addCookie(csrfCookie, csrfLifetime, agent, s.now()).value
	}
	s.mu.Unlock()
	if err != nil {
		c.errorPage(http.StatusInternalServerError, "CSRF Token Error",
			"An error "+occurred+" while generating a CSRF token. Error: "+err.Error())
	}
	return value, err == nil
}

// onInstance is content about the instance that the query names. Without one, the
// browser is sent to choose one and then to callback, or back to the same target.
func onInstance(callback string, inside func(c *call, csrf, instance string) (string, bool)) content {
	return func(c *call, csrf string) (string, bool) {
		to := callback
		if to == "" {
			to = c.head.target
		}
		instance, ok := c.queryInstance(to)
		if !ok {
			return "", false
		}
		return inside(c, csrf, instance)
	}
}

func (c *call) signInPage() {
	if session, _ := c.head.cookie(sessionCookie); session != "" {
		c.redirect("/dashboard", "")
		return
	}
	c.respond(http.StatusOK, "text/html", guestPage("Sign in | Mollymawk", "<h1>Sign in</h1>"+jsonForm("/api/login", "/dashboard", "",
		`<label>Email<input type="email" name="email" required/></label>`+
			`<label>Password<input type="password" name="password" required/></label>`, "Sign In")))
}

func (c *call) signUpPage() {
	if session, _ := c.head.cookie(sessionCookie); session != "" {
		c.redirect("/dashboard", "")
		return
	}
	csrf := newUUID()
	c.respond(http.StatusOK, "text/html", guestPage("Sign up | Mollymawk", "<h1>Sign up</h1>"+jsonForm("/api/register", "/dashboard", "",
		hidden("form_csrf", csrf)+
			`<label>Name<input name="name" required/></label><label>Email<input type="email" name="email" required/></label>`+
			`<label>Password<input type="password" name="password" required/></label>`, "Sign Up")),
		field{"Set-Cookie", csrfCookie + "=" + csrf + ";Path=/;HttpOnly=true"}, field{"X-MOLLY-CSRF", csrf})
}

func (c *call) selectInstance() {
	callback, ok := c.param("callback")
	if !ok {
		callback = "/dashboard"
	}
	separator := "?"
	if strings.Contains(callback, "?") {
		separator = "&"
	}
	c.srv.mu.Lock()
	names := sortedNames(c.srv.instances)
	c.srv.mu.Unlock()
	if len(names) == 1 {
		c.redirect(callback+separator+"instance="+names[0], "")
		return
	}
	c.show("Choose instance", func(*call, string) (string, bool) {
		var b strings.Builder
		for _, name := range names {
			b.WriteString(`<p><a href="` + escapeHTML(callback+separator+"instance="+name) + `">` + name + `</a></p>`)
		}
		return b.String(), true
	})
}

func (c *call) dashboard(csrf string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]string
	for _, instance := range sortedNames(s.instances) {
		d := s.domain(instance, c.user.name)
		for _, name := range sortedNames(d.unikernels) {
			query := "?unikernel=" + name + "&amp;instance=" + instance
			rows = append(rows, []string{
				`<a href="/unikernel/info` + query + `">` + name + `</a>`, instance,
				strconv.FormatInt(d.unikernels[name].config.memory, 10) + " MB",
				`<a href="/unikernel/console` + query + `">Console</a>`,
				jsonForm("/api/unikernel/destroy", "/dashboard", csrf, hidden("name", name)+hidden("albatross_instance", instance), "Destroy"),
			})
		}
	}
	return fmt.Sprintf(`<p>Unikernels (%d)</p><p><a href="/unikernel/deploy">Deploy</a></p>`, len(rows)) +
		htmlTable([]string{"Name", "Instance", "Memory", "Console", "Action"}, rows), true
}

func (c *call) tokensPage(csrf string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var rows [][]string
	for _, t := range c.user.tokens {
		expires := "-"
		if at := t.created.Unix() + t.expiresIn; at < 1<<37 && t.expiresIn > -1<<37 && t.expiresIn < 1<<37 {
			expires = timestamp(time.Unix(at, 0))
		}
		rows = append(rows, []string{
			escapeHTML(t.name), "Bearer " + escapeHTML(t.value), strconv.FormatInt(t.usage, 10),
			timestamp(t.created), expires, timeAgo(now, t.created),
			jsonForm("/api/tokens/delete", "/tokens", csrf, hidden("token_value", t.value), "Delete"),
		})
	}
	var options strings.Builder
	for _, option := range []struct {
		seconds int
		text    string
	}{{2419200, "1 month"}, {7257600, "3 months"}, {14515200, "6 months"}, {29030400, "1 year"}, {58060800, "2 years"}} {
		fmt.Fprintf(&options, `<option value="%d">%s</option>`, option.seconds, option.text)
	}
	return fmt.Sprintf("<p>API Keys (%d)</p>", len(rows)) +
		jsonForm("/api/tokens/create", "/tokens", csrf, `<label>Name<input name="token_name"/></label>`+
			`<label>Valid for<select name="token_expiry" data-type="number">`+options.String()+`</select></label>`, "Create Token") +
		`<input id="searchQuery" placeholder="search"/>` +
		htmlTable([]string{"Name", "Key", "Usage", "Created", "Expires", "Last used", "Action"}, rows), true
}

func (c *call) accountPage(csrf string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]string
	for _, k := range c.user.cookies {
		if k.name == sessionCookie {
			rows = append(rows, []string{
				escapeHTML(k.agent), timeAgo(s.now(), k.created),
				jsonForm("/api/account/session/close", "/account", csrf, hidden("session_value", k.value), "Close"),
			})
		}
	}
	return "<p>" + escapeHTML(c.user.email) + "</p>" + htmlTable([]string{"Agent", "Since", "Action"}, rows), true
}

func (c *call) blocksPage(csrf, instance string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]string
	if d := s.domain(instance, c.user.name); d != nil {
		for _, name := range sortedNames(d.blocks) {
			rows = append(rows, []string{
				name, strconv.FormatInt(d.blocks[name].size, 10) + " MB", strconv.FormatBool(d.inUse(name)),
				jsonForm("/api/"+s.blockWord()+"/delete", "/dashboard", csrf, hidden("block_name", name)+hidden("albatross_instance", instance), "Delete"),
			})
		}
	}
	return htmlTable([]string{"Name", "Size", "Used", "Action"}, rows), true
}

func (c *call) usagePage(_, instance string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domain(instance, c.user.name)
	if d == nil {
		return "", true
	}
	return fmt.Sprintf("<p>%d of %d unikernels, %d block devices on %s</p>", len(d.unikernels), d.allowed().Unikernels, len(d.blocks), instance), true
}

func (c *call) deployPage(csrf, instance string) (string, bool) {
	return `<form data-send="form" method="post" action="/api/unikernel/create" data-next="/dashboard">` +
		hidden("albatross_instance", instance) + `<label>Name<input name="unikernel_name" required/></label>` +
		`<label>Configuration<textarea name="unikernel_config">{"typ":"solo5","cpuids":[0],"memory":32}</textarea></label>` +
		hidden("unikernel_force_create", "false") + hidden(csrfCookie, csrf) + hidden("deploy_mode", "manual") +
		`<label>Image<input type="file" name="binary" required/></label><button>Deploy</button><output></output></form>`, true
}

func (c *call) unikernelPage(csrf, instance string) (string, bool) {
	name, ok := c.queryUnikernel()
	if !ok {
		return "", false
	}
	var html string
	_, err := c.command(instance, func(d *domain) (string, error) {
		u := d.unikernels[name]
		if u == nil {
			return "", unreachableError("Expected one unikernel, but got 0")
		}
		html = "<pre>" + escapeHTML(encode(u.json(name, d))) + "</pre>"
		return "", nil
	})
	if err != nil {
		c.errorPage(http.StatusInternalServerError, "", "An error "+occurred+" trying to fetch "+name+"from albatross: "+err.Error())
		return "", false
	}
	return html + jsonForm("/api/unikernel/restart?instance="+instance+"&unikernel="+name, "/dashboard", csrf, "", "Restart"), true
}

func (c *call) consolePage() {
	if _, ok := c.queryInstance(c.head.target); !ok {
		return
	}
	name, ok := c.queryUnikernel()
	if !ok {
		return
	}
	c.respond(http.StatusOK, "text/html", htmlHead("Console: "+name)+
		`<body><textarea id="console-output" readonly="readonly"></textarea></body></html>`)
}

func (c *call) usersPage(csrf string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]string
	for _, u := range s.users {
		rows = append(rows, []string{
			`<a href="/admin/user/profile?uuid=` + u.uuid + `">` + u.name + `</a>`, escapeHTML(u.email),
			strconv.FormatBool(u.active), strconv.FormatBool(u.admin),
			jsonForm("/api/admin/user/activate/toggle", "/admin/users", csrf, hidden("uuid", u.uuid), "Toggle active"),
		})
	}
	return htmlTable([]string{"Name", "Email", "Active", "Administrator", "Action"}, rows), true
}

// queryUser returns the user that the query names, or answers.
func (c *call) queryUser() (*user, bool) {
	uuid, ok := c.param("uuid")
	if !ok {
		c.errorPage(http.StatusBadRequest, "", "Couldn't find uuid in query params")
		return nil, false
	}
	u := c.srv.lockedUser(uuid)
	if u == nil {
		c.errorPage(http.StatusNotFound, "", "Couldn't find account with uuid: "+uuid)
	}
	return u, u != nil
}

func (c *call) userPage(string) (string, bool) {
	u, ok := c.queryUser()
	if !ok {
		return "", false
	}
	return "<p>" + u.name + "</p><p>" + escapeHTML(u.email) + "</p>", true
}

func (c *call) policyPage(_, instance string) (string, bool) {
	u, ok := c.queryUser()
	if !ok {
		return "", false
	}
	return "<p>" + u.name + " on " + instance + "</p>", true
}

func (c *call) instancesPage(csrf string) (string, bool) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]string
	for _, name := range sortedNames(s.instances) {
		rows = append(rows, []string{
			name, jsonForm("/api/admin/settings/albatross/delete", "/admin/settings/albatross", csrf, hidden("name", name), "Delete"),
		})
	}
	return htmlTable([]string{"Name", "Action"}, rows), true
}

func (c *call) emailPage(string) (string, bool) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	return "<pre>" + escapeHTML(encode(c.srv.email)) + "</pre>", true
}

func (c *call) errorsPage(_, instance string) (string, bool) {
	return "<p>" + escapeHTML(c.srv.faults.Load().Unreachable[instance]) + "</p>", true
}
