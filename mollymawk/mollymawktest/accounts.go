package mollymawktest

import (
	"net/http"
	"regexp"
	"slices"
)

// address matches every string that Mollymawk accepts as an e-mail address.
var address = regexp.MustCompile(`^[^\s@<>"]+@[^\s@<>"]+$`)

// login handles POST /api/login. It requires no CSRF value and returns the user's complete
// record.
func (c *call) login() {
	o, ok := c.readDictionary("Update password: expected a dictionary")
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
	agent, _ := c.head.last("user-agent")
	var session *cookie
	var record object
	c.change(func() {
		u.cookies = slices.DeleteFunc(u.cookies, func(k *cookie) bool { return k.name != sessionCookie })
		session = u.addCookie(sessionCookie, sessionLifetime, agent, s.now())
		record = u.json()
	})
	c.envelope(http.StatusOK, "", record,
		field{"Set-Cookie", sessionCookie + "=" + session.value + ";Path=/;HttpOnly=true"},
		field{"location", "/dashboard"})
}

// readDictionary reads the body as a JSON object and ignores the Content-Type. If the body
// isn't an object, readDictionary responds with the text in otherwise and returns false. If
// the body never ends, it returns false without responding.
func (c *call) readDictionary(otherwise string) (object, bool) {
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

// register handles POST /api/register. It refuses every request, as Mollymawk does if the
// CSRF value from the sign-up page is missing.
func (c *call) register() {
	o, ok := c.readDictionary("Register account: expected a dictionary")
	if !ok {
		return
	}
	for _, member := range []string{"email", "password", "name", "form_csrf"} {
		if _, ok := get[string](o, member); !ok {
			c.unexpected("Register", o)
			return
		}
	}
	c.say(http.StatusBadRequest, "CSRF token mismatch error. Please referesh and try again.")
}

// accept returns a handler for a call that only browsers make. The handler checks that the
// body has the given string members and changes nothing. what is the call's name in
// refusals.
func accept(what string, members ...string) func(*call) {
	return func(c *call) {
		o, ok := c.readObject()
		if !ok {
			return
		}
		for _, member := range members {
			if _, ok := get[string](o, member); !ok {
				c.unexpected(what, o)
				return
			}
		}
		c.done()
	}
}

func (c *call) done() { c.say(http.StatusOK, "done") }
