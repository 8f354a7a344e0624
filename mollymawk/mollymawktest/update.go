package mollymawktest

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

// rollbackLimit is for how long an update can be taken back.
const rollbackLimit = 10 * time.Minute

// unikernelUpdate is what a rollback needs to know.
type unikernelUpdate struct {
	name, job, uuid string
	config          config
	time            time.Time
}

func (u *unikernelUpdate) json() object {
	return object{
		{"name", u.name}, {"job", u.job}, {"uuid", u.uuid},
		{"config", object{{"typ", u.config.typ}, {"cpuids", list(u.config.cpuids)}, {"memory", u.config.memory}}},
		{"timestamp", timestamp(u.time)},
	}
}

func (s *Server) hasJob(job string) bool { return slices.Contains(s.options.Jobs, job) }

// updateUnikernel is POST /api/unikernel/update. The liveliness check comes before
// anything is looked at, as in the real one; nothing is ever fetched.
func (c *call) updateUnikernel() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	var fields [5]string
	for i, name := range []string{
		"albatross_instance", "job", "to_be_updated_unikernel", "currently_running_unikernel", "unikernel_name",
	} {
		if fields[i], ok = get[string](o, name); !ok {
			c.say(http.StatusBadRequest, "Couldn't find job or build in json. Received ")
			return
		}
	}
	job, build, running := fields[1], fields[2], fields[3]

	if problem := liveliness(o, c.srv.faults.Load().LivelinessBefore); problem != "" {
		c.envelope(http.StatusInternalServerError, "Error: Liveliness check failed",
			"Liveliness check of currentyly running unikernel failed with error: "+problem)
		return
	}
	instance, err := label(fields[0])
	if err != nil {
		c.envelope(http.StatusBadRequest, "Error: Bad instance name", "Couldn't convert the instance name, error: "+err.Error())
		return
	}
	name, err := label(fields[4])
	if err != nil {
		c.envelope(http.StatusBadRequest, "Error: Bad unikernel name", "Couldn't convert the unikernel name, error: "+err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.envelope(http.StatusNotFound, "Albatross Instance Error", "An error "+occurred+" while finding albatross instance "+instance)
		return
	}
	if arguments, _ := o.get("unikernel_arguments"); arguments != nil {
		// The JSON is escaped before it is parsed again, so that it never parses.
		text := escaped(encode(arguments))
		_, err := parseConfig(text, c.srv.options.Generation)
		if err == nil {
			err = errors.New("not a json assoc")
		}
		c.envelope(http.StatusBadRequest, "Error with Unikernel Arguments Json",
			"Could not get the unikernel arguments json: invalid json for unikernel_arguments: "+text+"failed with: "+err.Error())
		return
	}
	var cfg config
	_, err = c.command(instance, func(d *domain) (string, error) {
		u := d.unikernels[name]
		if u == nil {
			return "", unreachableError("Expected one unikernel, but got 0")
		}
		cfg = u.config
		return "", nil
	})
	if err != nil {
		c.say(http.StatusBadRequest, "Couldn't find albatross instance, "+instance+" with error: "+err.Error())
		return
	}
	c.srv.pause(c.srv.faults.Load().UpdateDelay)
	if err := c.deploy(instance, &unikernelUpdate{name: name, job: job, uuid: running, config: cfg}, "update"); err != nil {
		c.envelope(http.StatusInternalServerError, "Update Error",
			"Update failed. "+name+" failed to update to build "+build+" with error "+err.Error())
		return
	}
	if liveliness(o, c.srv.faults.Load().LivelinessAfter) != "" {
		c.rollback(instance, name)
		return
	}
	c.envelope(http.StatusOK, "Update Successful", "Update successful. "+name+" is now running on build "+build)
}

// liveliness says what is wrong with the checks that a request asks for, or with
// what they find.
func liveliness(o object, found string) (problem string) {
	address, _ := o.get("http_liveliness_address")
	if _, ok := address.(string); address != nil && !ok {
		return "invalid json for http_liveliness_address: " + escaped(encode(address))
	}
	if dns, ok := get[object](o, "dns_liveliness"); ok {
		for _, name := range []string{"dns_address", "dns_name"} {
			value, _ := dns.get(name)
			if _, ok := value.(string); value != nil && !ok {
				return "invalid json for " + name + ": " + escaped(encode(value))
			}
		}
	}
	return found
}

// pause waits, but not longer than the server lives.
func (s *Server) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-s.done:
	}
}

// deploy notes what a rollback would bring back, and creates the unikernel by
// force of what the builder has.
func (c *call) deploy(instance string, u *unikernelUpdate, kind string) error {
	s := c.srv
	s.mu.Lock()
	u.time = s.now()
	err := s.persist()
	if err == nil {
		c.user.updates = slices.DeleteFunc(c.user.updates, func(old unikernelUpdate) bool { return old.name == u.name })
		c.user.updates = slices.Insert(c.user.updates, 0, *u)
	}
	s.mu.Unlock()
	if err != nil {
		return errors.New(kind + " storing update information for " + u.name + " failed with: " + err.Error() +
			" for data: " + escaped(encode(u.json())))
	}
	if !s.hasJob(u.job) {
		return errors.New(kind + " :an error " + occurred + " while fetching the binary from builds.robur.coop with error: returned not found")
	}
	_, err = c.command(instance, func(d *domain) (string, error) {
		return d.create(u.name, &unikernel{config: u.config, started: s.now()}, true)
	})
	if _, ok := errors.AsType[unreachableError](err); ok {
		return errors.New("Force create: Error querying albatross: " + err.Error())
	}
	return err
}

// rollbackUnikernel is POST /api/unikernel/rollback.
func (c *call) rollbackUnikernel() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok1 := get[string](o, "unikernel_name")
	instance, ok2 := get[string](o, "albatross_instance")
	if !ok1 || !ok2 {
		c.say(http.StatusBadRequest, "Couldn't find unikernel name in json")
		return
	}
	instance, err := label(instance)
	if err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert instance name, "+err.Error())
		return
	}
	if name, err = label(name); err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert unikernel name, "+err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Couldn't find albatross instance, "+instance)
		return
	}
	c.rollback(instance, name)
}

func (c *call) rollback(instance, name string) {
	c.srv.mu.Lock()
	i := slices.IndexFunc(c.user.updates, func(u unikernelUpdate) bool { return u.name == name })
	var last unikernelUpdate
	if i >= 0 {
		last = c.user.updates[i]
	}
	now := c.srv.now()
	c.srv.mu.Unlock()
	switch {
	case i < 0:
		c.envelope(http.StatusNotFound, "Rollback Error", name+" rollback failed. Could not find the build information.")
	case now.Sub(last.time).Truncate(time.Second) >= rollbackLimit:
		c.envelope(http.StatusBadRequest, "Rollback Failed",
			name+" rollback failed. We can't do a rollback after 10 minutes of an update.")
	default:
		if err := c.deploy(instance, &last, "rollback"); err != nil {
			c.envelope(http.StatusInternalServerError, "Rollback Error",
				"Rollback failed. "+name+" failed to revert to build "+last.uuid+" with error "+err.Error())
			return
		}
		c.envelope(http.StatusOK, "Rollback Successful",
			"Rollback successful. "+name+" is now running on build "+last.uuid)
	}
}
