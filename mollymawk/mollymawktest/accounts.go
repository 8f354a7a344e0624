package mollymawktest

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// address is what passes for an e-mail address.
var address = regexp.MustCompile(`^[^\s@<>"]+@[^\s@<>"]+$`)

// login is POST /api/login. It needs no CSRF value and returns everything that is
// stored of the user.
func (c *call) login() {
	o, ok := c.readPublicObject("Update password: expected a dictionary")
	if !ok {
		return
	}
	email, ok1 := get[string](o, "email")
	password, ok2 := get[string](o, "password")
	if !ok1 || !ok2 {
		c.unexpected("Update password", o)
		return
	}
	problem := ""
	switch {
	case email == "" || password == "":
		problem = "All fields must be filled."
	case !address.MatchString(email):
		problem = "Invalid email address."
	case len(password) < 8:
		problem = "Password must be at least 8 characters long."
	}
	if problem != "" {
		c.say(http.StatusBadRequest, problem)
		return
	}
	s := c.srv
	s.mu.Lock()
	u := s.userBy(func(u *user) bool { return u.email == email })
	switch {
	case u == nil:
		problem = "This account does not exist."
	case !u.active:
		problem = "This account is not active"
	case u.password != hashPassword(password, u.uuid):
		problem = "Invalid email or password."
	}
	s.mu.Unlock()
	if problem != "" {
		c.say(http.StatusBadRequest, problem)
		return
	}
	c.user = u
	c.startSession(func() {
		u.cookies = slices.DeleteFunc(u.cookies, func(k *cookie) bool { return k.name != sessionCookie })
	})
}

// startSession signs c.user in, after prepare, and answers with the whole record.
func (c *call) startSession(prepare func()) {
	agent, _ := c.head.last("user-agent")
	var session *cookie
	var record object
	if !c.change(func() {
		prepare()
		session = c.user.addCookie(sessionCookie, sessionLifetime, agent, c.srv.now())
		record = c.user.json()
	}) {
		return
	}
	c.envelope(http.StatusOK, "", record,
		field{"Set-Cookie", sessionCookie + "=" + session.value + ";Path=/;HttpOnly=true"},
		field{"location", "/dashboard"})
}

// readPublicObject reads the body of who isn't signed in as a JSON object, or
// answers.
func (c *call) readPublicObject(otherwise string) (object, bool) {
	data, ok := c.readBody()
	if !ok {
		return nil, false
	}
	value, err := parseJSON(string(data))
	if err != nil {
		c.say(http.StatusBadRequest, err.Error())
		return nil, false
	}
	o, ok := value.(object)
	if !ok {
		c.say(http.StatusBadRequest, otherwise)
	}
	return o, ok
}

// register is POST /api/register. The first user becomes an active administrator,
// all others have to be activated.
func (c *call) register() {
	o, ok := c.readPublicObject("Register account: expected a dictionary")
	if !ok {
		return
	}
	email, ok1 := get[string](o, "email")
	password, ok2 := get[string](o, "password")
	name, ok3 := get[string](o, "name")
	csrf, ok4 := get[string](o, "form_csrf")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		c.unexpected("Register", o)
		return
	}
	const mismatch = "CSRF token mismatch error. Please referesh and try again."
	cookie, _ := c.head.cookie(csrfCookie)
	folded, err := label(name)
	var problem string
	switch {
	case name == "" || email == "" || password == "":
		problem = "All fields must be filled."
	case len(name) < 4:
		problem = "Name must be at least 3 characters long."
	case !address.MatchString(email):
		problem = "Invalid email address."
	case len(password) < 8:
		problem = "Password must be at least 8 characters long."
	case csrf == "":
		problem = mismatch
	case err != nil:
		problem = err.Error()
	case csrf != cookie:
		problem = mismatch
	default:
		problem = c.srv.taken(folded, email)
	}
	if problem != "" {
		c.say(http.StatusBadRequest, problem)
		return
	}
	s := c.srv
	c.user = newUser(folded, email, password, s.now())
	c.startSession(func() {
		if len(s.users) == 0 {
			c.user.active, c.user.admin = true, true
		}
		s.users = append(s.users, c.user)
	})
}

func (s *Server) taken(name, email string) (problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sameName := s.user(name)
	sameEmail := s.userBy(func(u *user) bool { return u.email == email })
	switch {
	case sameName != nil && sameEmail != nil:
		return "A user with this name or email already exist."
	case sameName != nil:
		return "A user with this name already exist."
	case sameEmail != nil:
		return "A user with this email already exist."
	}
	return ""
}

// updatePassword is POST /account/password/update.
func (c *call) updatePassword() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	current, ok1 := get[string](o, "current_password")
	password, ok2 := get[string](o, "new_password")
	confirm, ok3 := get[string](o, "confirm_password")
	c.srv.mu.Lock()
	hash := c.user.password
	c.srv.mu.Unlock()
	switch {
	case !ok1 || !ok2 || !ok3:
		c.unexpected("Update password", o)
	case hashPassword(current, c.user.uuid) != hash:
		c.say(http.StatusBadRequest, "The current password entered is wrong.")
	case password != confirm:
		c.say(http.StatusBadRequest, "New password and confirm password do not match")
	case len(password) < 8:
		c.say(http.StatusBadRequest, "New password must be atleast 8 characters.")
	default:
		if c.change(func() { c.user.password = hashPassword(password, c.user.uuid) }) {
			c.say(http.StatusOK, "Updated password successfully")
		}
	}
}

// logout is POST /logout.
func (c *call) logout() {
	c.dropCookies("Logout successful", func(k *cookie, own string) bool { return k.value == own })
}

// closeSessions is POST /api/account/sessions/close: all but the caller's.
func (c *call) closeSessions() {
	c.dropCookies("Closed all sessions successfully", func(k *cookie, own string) bool {
		return k.name == sessionCookie && k.value != own
	})
}

func (c *call) dropCookies(done string, drop func(k *cookie, own string) bool) {
	if _, ok := c.readObject(); !ok {
		return
	}
	own, _ := c.head.cookie(sessionCookie)
	if c.change(func() {
		c.user.cookies = slices.DeleteFunc(c.user.cookies, func(k *cookie) bool { return drop(k, own) })
	}) {
		c.say(http.StatusOK, done)
	}
}

// closeSession is POST /api/account/session/close.
func (c *call) closeSession() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	value, ok := get[string](o, "session_value")
	if !ok {
		c.unexpected("Close session", o)
		return
	}
	if c.change(func() {
		c.user.cookies = slices.DeleteFunc(c.user.cookies, func(k *cookie) bool { return k.value == value })
	}) {
		c.say(http.StatusOK, "Session closed successfully")
	}
}

// verifyEmail makes a link that would be mailed, and a page that says so.
func (c *call) verifyEmail() {
	csrf, ok := c.newCSRF()
	if !ok {
		return
	}
	if c.change(func() { c.user.verification = newUUID() }) {
		c.respond(http.StatusOK, "text/html", c.layout("Verify", csrf, "<p>A link was sent to "+escapeHTML(c.user.email)+".</p>"),
			field{"X-MOLLY-CSRF", csrf})
	}
}

// verifyToken follows the link.
func (c *call) verifyToken() {
	value, ok := c.param("token")
	if !ok {
		c.errorPage(http.StatusBadRequest, "", "Couldn't find token in query params")
		return
	}
	s := c.srv
	s.mu.Lock()
	u := s.userBy(func(u *user) bool { return u.verification != "" && strings.EqualFold(u.verification, value) })
	fresh := u != nil && valid(u.updated, s.now(), csrfLifetime)
	s.mu.Unlock()
	sorry := func(text string) {
		c.redirect("/sign-in", "error: "+percentEncode(text),
			field{"Set-Cookie", sessionCookie + "=; Path=/; HttpOnly=true;"})
	}
	switch {
	case u == nil:
		sorry("No token was found.")
	case !fresh:
		sorry("This link has expired. Please sign in to get a new verification link.")
	case u != c.user:
		c.say(http.StatusBadRequest, "Logged in user is not the to-be-verified one")
	default:
		now := s.now()
		if c.change(func() { u.emailVerified, u.verification = &now, "" }) {
			c.redirect("/dashboard", "")
		}
	}
}
