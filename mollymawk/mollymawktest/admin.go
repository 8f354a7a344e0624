package mollymawktest

import (
	"encoding/pem"
	"net/http"
	"net/netip"
	"slices"
)

// toggleActive is POST /api/admin/user/activate/toggle.
func (c *call) toggleActive() {
	c.toggle("Cannot deactivate last active user", func(u *user) *bool { return &u.active })
}

// toggleAdmin is POST /api/admin/user/admin/toggle.
func (c *call) toggleAdmin() {
	c.toggle("Cannot remove last administrator", func(u *user) *bool { return &u.admin })
}

// toggle turns an attribute of a user around that at least one user must have.
func (c *call) toggle(last string, attribute func(*user) *bool) {
	u, ok := c.namedUser("Couldn't find a UUID in the JSON.")
	if !ok {
		return
	}
	s := c.srv
	s.mu.Lock()
	others := slices.ContainsFunc(s.users, func(other *user) bool { return other != u && *attribute(other) })
	refused := *attribute(u) && !others
	s.mu.Unlock()
	if refused {
		c.say(http.StatusForbidden, last)
		return
	}
	if c.change(func() { *attribute(u) = !*attribute(u) }) {
		c.say(http.StatusOK, "Updated user successfully")
	}
}

// deleteAccount is POST /api/admin/user/account/delete.
func (c *call) deleteAccount() {
	u, ok := c.namedUser("delete-user: Couldn't find a UUID in the JSON.")
	if !ok {
		return
	}
	s := c.srv
	if c.change(func() { s.users = slices.DeleteFunc(s.users, func(other *user) bool { return other == u }) }) {
		c.say(http.StatusOK, "Deleted user successfully")
	}
}

// namedUser reads {"uuid"}, or answers.
func (c *call) namedUser(missing string) (*user, bool) {
	o, ok := c.readObject()
	if !ok {
		return nil, false
	}
	uuid, ok := get[string](o, "uuid")
	if !ok {
		c.say(http.StatusBadRequest, missing)
		return nil, false
	}
	u := c.srv.lockedUser(uuid)
	if u == nil {
		c.say(http.StatusNotFound, "Account not found")
	}
	return u, u != nil
}

func (s *Server) lockedUser(uuid string) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.userBy(func(u *user) bool { return u.uuid == uuid })
}

// retryInstance is GET /api/admin/albatross/retry?instance=….
func (c *call) retryInstance() {
	instance, ok := c.queryInstance(c.head.target)
	if !ok {
		return
	}
	if text := c.srv.faults.Load().Unreachable[instance]; text != "" {
		c.say(http.StatusInternalServerError, "Re-initialization failed. See error logs: "+text)
		return
	}
	c.say(http.StatusOK, "Re-initialization successful, instance is back online")
}

// saveInstance is POST /api/admin/settings/albatross/create and …/update. Of the
// certificate and key only the form is looked at.
func (c *call) saveInstance(create bool) {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok1 := get[string](o, "name")
	certificate, ok2 := get[string](o, "certificate")
	key, ok3 := get[string](o, "private_key")
	ip, ok4 := get[string](o, "server_ip")
	_, ok5 := get[int64](o, "server_port")
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		c.say(http.StatusBadRequest, escaped("configuration: unexpected types, got "+escaped(encode(o))))
		return
	}
	name, err := label(name)
	if err == nil {
		_, err = netip.ParseAddr(ip)
	}
	certificatePEM, _ := pem.Decode([]byte(certificate))
	keyPEM, _ := pem.Decode([]byte(key))
	switch {
	case err != nil:
		c.say(http.StatusBadRequest, escaped(err.Error()))
		return
	case certificatePEM == nil || keyPEM == nil:
		c.say(http.StatusBadRequest, "PEM: no certificate or private key")
		return
	case create && c.srv.hasInstance(name):
		c.say(http.StatusInternalServerError, "configuration "+name+" already exists")
		return
	case !create && !c.srv.hasInstance(name):
		c.say(http.StatusInternalServerError, "configuration "+name+" not found")
		return
	}
	s := c.srv
	if c.change(func() {
		if s.instances[name] == nil {
			s.instances[name] = newInstance()
		}
	}) {
		c.say(http.StatusOK, "Configuration updated successfully")
	}
}

// deleteInstance is POST /api/admin/settings/albatross/delete.
func (c *call) deleteInstance() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok := get[string](o, "name")
	if !ok {
		c.unexpected("Delete albatross config", o)
		return
	}
	name, err := label(name)
	if err != nil {
		c.say(http.StatusBadRequest, err.Error())
		return
	}
	if !c.srv.hasInstance(name) {
		c.say(http.StatusInternalServerError, "configuration '"+name+"' not found")
		return
	}
	if c.change(func() { delete(c.srv.instances, name) }) {
		c.say(http.StatusOK, "Configuration delete successfully")
	}
}

// updatePolicy is POST /api/admin/u/policy/update.
func (c *call) updatePolicy() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	uuid, ok1 := get[string](o, "user_uuid")
	instance, ok2 := get[string](o, "albatross_instance")
	if !ok1 || !ok2 {
		c.unexpected("Update policy", o)
		return
	}
	u := c.srv.lockedUser(uuid)
	if u == nil {
		c.say(http.StatusNotFound, "User not found")
		return
	}
	instance, err := label(instance)
	if err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert name to albatross instance: "+err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Couldn't find albatross instance with name: "+instance)
		return
	}
	p, ok := parsePolicy(o)
	if !ok {
		c.say(http.StatusBadRequest, "policy: unexpected types, got "+escaped(encode(o)))
		return
	}
	if problem := p.usable(); problem != "" {
		c.say(http.StatusBadRequest, problem)
		return
	}
	s := c.srv
	if c.change(func() {
		if d := s.domain(instance, u.name); d != nil {
			d.policy = p
		}
	}) {
		c.say(http.StatusOK, p.json(u.name))
	}
}

// readEmail reads the settings of outgoing mail, or answers.
func (c *call) readEmail() (object, bool) {
	o, ok := c.readObject()
	if !ok {
		return nil, false
	}
	server, ok1 := get[string](o, "server")
	port, ok2 := get[int64](o, "port")
	from, ok3 := get[string](o, "from_email")
	base, ok4 := get[string](o, "base_url")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		c.say(http.StatusBadRequest, escaped("missing fields in email configuration json, got "+encode(o)))
		return nil, false
	}
	if _, err := netip.ParseAddr(server); err != nil {
		c.say(http.StatusBadRequest, escaped(err.Error()))
		return nil, false
	}
	return object{{"server", server}, {"port", port}, {"from_email", from}, {"base_url", base}}, true
}

// updateEmail is POST /api/admin/settings/email/update.
func (c *call) updateEmail() {
	settings, ok := c.readEmail()
	if ok && c.change(func() { c.srv.email = settings }) {
		c.say(http.StatusOK, "Email settings verified and saved successfully")
	}
}

// testEmail is POST /api/admin/settings/email/test. No mail is ever sent.
func (c *call) testEmail() {
	if settings, ok := c.readEmail(); ok {
		server, _ := get[string](settings, "server")
		c.say(http.StatusBadRequest, "Test failed: couldn't connect to "+server)
	}
}
