package mollymawktest

import (
	"net/http"
	"strings"
)

// access describes which credentials a route accepts and how it refuses other requests. The
// zero value means that the route is public.
type access int

const (
	public access = iota
	// byToken requires a token or a session and refuses other requests with JSON.
	byToken
	// bySession requires a session and ignores Authorization. It redirects browsers without
	// a session to the sign-in page.
	bySession
	// bySessionJSON is like bySession, but refuses requests with JSON.
	bySessionJSON
	// byAdmin and byAdminJSON require an administrator's session.
	byAdmin
	byAdminJSON
)

func (a access) admin() bool { return a == byAdmin || a == byAdminJSON }
func (a access) page() bool  { return a == bySession || a == byAdmin }

// authenticate identifies the caller, or sends a refusal and returns false. If
// Authorization starts with "Bearer ", authenticate uses only the token, even if the token
// is invalid and the cookie is valid.
func (c *call) authenticate(a access) bool {
	if a == public {
		return true
	}
	use, problem := c.identify(a)
	if problem != "" {
		c.refuse(a, problem)
		return false
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	use()
	return true
}

// identify sets the user and returns a function that records this use of the credential. If
// it fails, it returns an error text for the client, which contains the token.
func (c *call) identify(a access) (use func(), problem string) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	authorization, _ := c.head.last("authorization")
	value, bearer := strings.CutPrefix(authorization, "Bearer ")
	if a == byToken && bearer {
		u, t := s.byToken(value)
		switch {
		case t == nil:
			return nil, "Failed to find user with token " + value
		case !valid(t.created, now, t.expiresIn):
			return nil, "Token value is not valid " + value
		}
		c.user, c.byToken = u, true
		return func() { t.usage++ }, c.mayUse(a)
	}
	value, ok := c.head.cookie(sessionCookie)
	if !ok {
		return nil, "No molly-session in cookie header. User not found"
	}
	u, session := s.bySession(value)
	switch {
	case session == nil && s.options.Generation == Generation2025:
		return nil, "Failed to find user with cookie " + value
	case session == nil:
		return nil, "Failed to find user with cookie"
	case !valid(session.created, now, session.expiresIn):
		return nil, "Session value doesn't match user session"
	}
	c.user = u
	agent, _ := c.head.last("user-agent")
	return func() { session.agent = agent }, c.mayUse(a)
}

func (c *call) mayUse(a access) (problem string) {
	switch {
	case !c.user.active:
		return "User account is deactivated"
	case a.admin() && !c.user.admin:
		return "You don't have the necessary permissions to access this service."
	}
	return ""
}

func (c *call) refuse(a access, problem string) {
	if !a.page() {
		c.say(http.StatusBadRequest, problem)
		return
	}
	c.redirect("/sign-in", "error: "+percentEncode(problem),
		field{"Set-Cookie", sessionCookie + "=; Path=/; HttpOnly=true;"})
}

// cookie returns the value of the first cookie with this name. It ignores cookies with more
// than one "=".
func (h *head) cookie(name string) (string, bool) {
	line, _ := h.last("cookie")
	for pair := range strings.SplitSeq(line, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if ok && strings.TrimSpace(key) == name && !strings.Contains(value, "=") {
			return value, true
		}
	}
	return "", false
}

// checkCSRF checks that the user received this CSRF value within the last hour. If not, it
// sends a refusal and returns false. Requests with a token don't need a CSRF value.
func (c *call) checkCSRF(value string) bool {
	if c.byToken {
		return true
	}
	c.srv.mu.Lock()
	known := c.user.cookie(csrfCookie, value)
	now := c.srv.now()
	c.srv.mu.Unlock()
	switch {
	case known == nil:
		c.envelope(http.StatusBadRequest, "Missing CSRF Token", "Missing CSRF token. Please refresh and try again.")
	case !valid(known.created, now, known.expiresIn):
		c.envelope(http.StatusBadRequest, "CSRF Token Mismatch",
			"Invalid CSRF token error. Please refresh and try again.")
	default:
		return true
	}
	return false
}

// readObject is like readDictionary but also checks the object's CSRF value.
func (c *call) readObject() (object, bool) {
	o, ok := c.readDictionary("not a dictionary")
	if !ok || c.byToken {
		return o, ok
	}
	csrf, ok := get[string](o, csrfCookie)
	if !ok {
		c.say(http.StatusBadRequest, "Couldn't find CSRF token")
		return nil, false
	}
	return o, c.checkCSRF(csrf)
}

// change applies a change to the user's record.
func (c *call) change(apply func()) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	apply()
	c.user.updated = c.srv.now()
}
