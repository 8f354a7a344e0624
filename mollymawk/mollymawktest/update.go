package mollymawktest

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rollbackLimit is how long after an update a rollback is possible.
const rollbackLimit = 10 * time.Minute

// unikernelUpdate is the state before an update, which a rollback restores.
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

// updateUnikernel handles POST /api/unikernel/update. As in Mollymawk, the liveliness check
// comes before the name checks. updateUnikernel never fetches anything.
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

	if problem := liveliness(o); problem != "" {
		c.envelope(http.StatusInternalServerError, "Error: Liveliness check failed",
			"Liveliness check of currentyly running unikernel failed with error: "+problem)
		return
	}
	instance, err := label(fields[0])
	if err != nil {
		c.envelope(http.StatusBadRequest, "Error: Bad instance name", "Couldn't convert the instance name, error: "+
			err.Error())
		return
	}
	name, err := label(fields[4])
	if err != nil {
		c.envelope(http.StatusBadRequest, "Error: Bad unikernel name", "Couldn't convert the unikernel name, error: "+
			err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.envelope(http.StatusNotFound, "Albatross Instance Error",
			"An error "+occurred+" while finding albatross instance "+instance)
		return
	}
	if arguments, _ := o.get("unikernel_arguments"); arguments != nil {
		// Mollymawk escapes the JSON before parsing it again, so parsing always fails.
		text := escaped(encode(arguments))
		_, err := parseConfig(text, c.srv.options.Generation)
		if err == nil {
			err = errors.New("not a json assoc")
		}
		c.envelope(http.StatusBadRequest, "Error with Unikernel Arguments Json",
			"Could not get the unikernel arguments json: invalid json for unikernel_arguments: "+text+"failed with: "+
				err.Error())
		return
	}
	c.acts(Action{Instance: instance, Unikernel: name})
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
	if err := c.deploy(instance, &unikernelUpdate{name: name, job: job, uuid: running, config: cfg},
		"update"); err != nil {
		c.envelope(http.StatusInternalServerError, "Update Error",
			"Update failed. "+name+" failed to update to build "+build+" with error "+err.Error())
		return
	}
	c.envelope(http.StatusOK, "Update Successful", "Update successful. "+name+" is now running on build "+build)
}

// liveliness returns the error from the liveliness checks in a request, or "" if they
// succeed. It doesn't fetch anything, so only malformed addresses fail.
func liveliness(o object) (problem string) {
	address, problem := optionalText(o, "http_liveliness_address")
	if problem != "" {
		return problem
	}
	dns, _ := get[object](o, "dns_liveliness")
	resolver, problem := optionalText(dns, "dns_address")
	if problem != "" {
		return problem
	}
	name, problem := optionalText(dns, "dns_name")
	switch {
	case problem != "":
		return problem
	case resolver != "" && name != "" && !hostName.MatchString(name):
		return "Invalid DNS name: invalid host name"
	}
	var failed []string
	if address != "" && !fetchable(address) {
		failed = append(failed, "HTTP ("+address+"): "+address+" :an error "+occurred+
			" while performing a liveliness check on the http endpoint with error: couldn't decode URL")
	}
	if resolver != "" && name != "" && !resolves(resolver) {
		failed = append(failed, "DNS ("+name+", "+resolver+"): timeout")
	}
	if len(failed) > 0 {
		return "Liveliness checks failed for: " + strings.Join(failed, ", ")
	}
	return ""
}

// optionalText returns a string member that may be missing or null.
func optionalText(o object, name string) (text, problem string) {
	value, _ := o.get(name)
	text, ok := value.(string)
	if value != nil && !ok {
		return "", "invalid json for " + name + ": " + escaped(encode(value))
	}
	return text, ""
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func fetchable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// resolves reports whether a resolver's address is valid. A port that is negative or isn't
// a number raises an exception.
func resolves(address string) bool {
	host, port, hasPort := strings.Cut(address, ":")
	if inside, ok := strings.CutPrefix(address, "["); ok {
		inside, port, _ = strings.Cut(inside, "]")
		port, hasPort = strings.CutPrefix(port, ":")
		host = inside
	} else if strings.Contains(port, ":") {
		host, hasPort = address, false
	}
	if hasPort {
		if n, ok := integer(port); !ok || n < 0 {
			raise("Invalid_argument")
		}
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// deploy records the state for a rollback and replaces the unikernel with the builder's
// image.
func (c *call) deploy(instance string, u *unikernelUpdate, kind string) error {
	s := c.srv
	s.mu.Lock()
	u.time = s.now()
	c.user.updates = slices.DeleteFunc(c.user.updates, func(old unikernelUpdate) bool { return old.name == u.name })
	c.user.updates = slices.Insert(c.user.updates, 0, *u)
	s.mu.Unlock()
	next := &unikernel{config: u.config, started: s.now()}
	if !s.hasJob(u.job) {
		next.problem = errELF // the builder has no image, so the image is empty
	}
	_, err := c.command(instance, func(d *domain) (string, error) { return d.create(u.name, next, true) })
	if next.problem != nil {
		return errors.New(kind + " :an error " + occurred +
			" while fetching the binary from builds.robur.coop with error: returned not found")
	}
	if _, ok := errors.AsType[unreachableError](err); ok {
		return errors.New("Force create: Error querying albatross: " + err.Error())
	}
	return err
}

// rollbackUnikernel handles POST /api/unikernel/rollback.
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
	c.acts(Action{Instance: instance, Unikernel: name})
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
		c.envelope(http.StatusNotFound, "Rollback Error",
			name+" rollback failed. Could not find the build information.")
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
