package mollymawktest

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
)

// listUnikernels handles GET /api/unikernels.
func (c *call) listUnikernels() {
	s := c.srv
	lists, problems := []any{}, []any{}
	s.mu.Lock()
	names := sortedNames(s.instances)
	s.mu.Unlock()
	slices.Reverse(names)
	for _, name := range names {
		var unikernels []any
		_, err := c.command(name, func(d *domain) (string, error) {
			unikernels = d.list()
			return "", nil
		})
		if err != nil {
			problems = append(problems, object{{"instance", name}, {"error", err.Error()}})
			continue
		}
		lists = append(lists, unikernels)
	}
	c.envelope(http.StatusOK, "Unikernel Information", object{{"data", lists}, {"errors", problems}})
}

func (d *domain) list() []any {
	list := []any{}
	for _, name := range sortedNames(d.unikernels) {
		list = append(list, d.unikernels[name].json(name, d))
	}
	return list
}

// createUnikernel handles POST /api/unikernel/create. It ignores parts after the image. It
// treats a second image as another create request, whose response raises an exception.
func (c *call) createUnikernel() {
	fields := []string{
		"albatross_instance", "unikernel_name", "unikernel_config", "unikernel_force_create", csrfCookie,
	}
	if c.srv.options.Generation == Current {
		fields = append(fields, "deploy_mode")
	}
	c.streamForm("binary", fields, []string{"builder_job"}, c.createFrom)
}

// createFrom creates a unikernel from fields and an image, and responds.
func (c *call) createFrom(fields map[string]string, image io.Reader) {
	instance, err := label(fields["albatross_instance"])
	if err != nil {
		c.say(http.StatusBadRequest, "Error converting instance name: "+err.Error())
		return
	}
	name, err := label(fields["unikernel_name"])
	if err != nil {
		c.say(http.StatusBadRequest, "Error converting unikernel name: "+err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Error finding albatross instance: "+instance)
		return
	}
	if !c.checkCSRF(fields[csrfCookie]) {
		return
	}
	cfg, err := parseConfig(fields["unikernel_config"], c.srv.options.Generation)
	if err != nil {
		c.say(http.StatusBadRequest, "Invalid unikernel arguments: "+err.Error())
		return
	}
	force := fields["unikernel_force_create"] == "true"
	if !force && fields["unikernel_force_create"] != "false" {
		c.crash() // bool_of_string raises
		return
	}
	u := &unikernel{config: cfg, started: c.srv.now()}
	mode, ok := fields["deploy_mode"]
	if !ok {
		mode = "manual"
	}
	job, hasJob := fields["builder_job"]
	switch {
	case mode == "builder" && !hasJob:
		c.say(http.StatusBadRequest, "Missing builder job or uuid")
		return
	case mode == "builder" && !c.srv.hasJob(job):
		u.problem = errELF // the builder has no image, so the image is empty
	case mode == "builder":
	case mode == "manual":
		sum := sha256.New()
		var file imageFile
		if u.size, err = io.Copy(io.MultiWriter(sum, &file), image); err != nil {
			return // the body never ends, so albatross waits for the rest
		}
		sum.Sum(u.sha256[:0])
		if cfg.typ == "solo5" {
			u.devices, u.problem = file.manifest()
		}
	default:
		c.say(http.StatusBadRequest, "Invalid deploy mode")
		return
	}
	c.acts(Action{Instance: instance, Unikernel: name, Attached: cfg.attached()})
	text, err := c.command(instance, func(d *domain) (string, error) { return d.create(name, u, force) })
	var unreachable unreachableError
	switch {
	case errors.As(err, &unreachable):
		c.say(http.StatusInternalServerError, "Albatross Query Error: "+err.Error())
	case err != nil:
		c.say(http.StatusInternalServerError, "Albatross Response Error: "+err.Error())
	default:
		c.say(http.StatusOK, text)
	}
}

// destroyUnikernel handles POST /api/unikernel/destroy.
func (c *call) destroyUnikernel() {
	instance, name, ok := c.namedUnikernel("Error converting instance name: ")
	if ok {
		c.acts(Action{Instance: instance, Unikernel: name})
		c.sendResult(c.command(instance, func(d *domain) (string, error) { return d.destroy(name) }))
	}
}

// namedUnikernel reads a body {"name", "albatross_instance"}. On an error, it responds and
// returns false.
func (c *call) namedUnikernel(badInstance string) (instance, name string, ok bool) {
	o, ok := c.readObject()
	if !ok {
		return "", "", false
	}
	name, ok1 := get[string](o, "name")
	instance, ok2 := get[string](o, "albatross_instance")
	if !ok1 || !ok2 {
		c.say(http.StatusBadRequest, "Couldn't find unikernel name in json")
		return "", "", false
	}
	instance, err := label(instance)
	if err != nil {
		c.say(http.StatusBadRequest, badInstance+err.Error())
		return "", "", false
	}
	if name, err = label(name); err != nil {
		c.say(http.StatusBadRequest, "Error converting unikernel name: "+err.Error())
		return "", "", false
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Error finding albatross instance: "+instance)
		return "", "", false
	}
	return instance, name, true
}

// restartUnikernel handles POST /api/unikernel/restart?instance=…&unikernel=….
func (c *call) restartUnikernel() {
	instance, name, ok := c.queryNames()
	if !ok {
		return
	}
	o, ok := c.readObject()
	if !ok {
		return
	}
	action := Action{Instance: instance, Unikernel: name}
	var changed *config
	if arguments, ok := o.get("arguments"); ok {
		text, ok := arguments.(string)
		if !ok {
			c.say(http.StatusBadRequest, "Arguments is expected to be a string")
			return
		}
		cfg, err := parseConfig(text, c.srv.options.Generation)
		if err != nil {
			c.say(http.StatusBadRequest, "Error parsing arguments: "+err.Error())
			return
		}
		changed, action.Attached = &cfg, cfg.attached()
	}
	c.acts(action)
	c.sendResult(c.command(instance, func(d *domain) (string, error) { return d.restart(name, changed, c.srv.now()) }))
}

// restartUnikernelByName handles POST /api/unikernel/restart as it worked until June 2026.
func (c *call) restartUnikernelByName() {
	instance, name, ok := c.namedUnikernel("Error converting albatross name to instance name: ")
	if ok {
		c.acts(Action{Instance: instance, Unikernel: name})
		c.sendResult(c.command(instance, func(d *domain) (string, error) { return d.restart(name, nil, c.srv.now()) }))
	}
}
