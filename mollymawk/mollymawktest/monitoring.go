package mollymawktest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// managementDomain is the domain through which Mollymawk contacts unikernels for
// monitoring.
const managementDomain = "management.example"

// fragment responds with HTML for htmx, labeled as plain text.
func (c *call) fragment(status int, html string) { c.respond(status, "text/plain", html) }

func (c *call) alert(status int, text string) {
	colour := "border-primary-400 text-primary-500"
	if status != http.StatusOK {
		colour = "border-secondary-400 text-secondary-500"
	}
	c.fragment(status, `<div class="my-4 p-4 border rounded-lg `+colour+`"><p>`+escapeHTML(text)+`</p></div>`)
}

// monitored reports whether any user has a unikernel with this name. Mollymawk doesn't
// check who owns it.
func (s *Server) monitored(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		for _, d := range i.domains {
			if d.unikernels[name] != nil {
				return true
			}
		}
	}
	return false
}

// connectError returns Mollymawk's error for a unikernel that doesn't exist.
func connectError(name string) string {
	target := name + "." + managementDomain
	return "[monitoring] Failed to connect to " + target + ":2323, error couldn't resolve " + target
}

// monitoringStatus handles GET /api/unikernel/monitoring/status?unikernel=….
func (c *call) monitoringStatus() {
	name, ok := c.queryUnikernel()
	if !ok {
		return
	}
	if !c.srv.monitored(name) {
		c.alert(http.StatusBadRequest, connectError(name))
		return
	}
	c.fragment(http.StatusOK, `<div id="monitoring-container" class="space-y-6 py-4"><div>`+
		`<p>Log sources of `+name+`</p><ul><li>application: info</li></ul><hr/>`+
		`<p>Metric sources of `+name+`</p><ul><li>memory: enabled</li></ul></div></div>`)
}

// monitoringUpdate handles POST /api/unikernel/monitoring/update.
func (c *call) monitoringUpdate() {
	fields, ok := c.readForm()
	if !ok {
		return
	}
	command, ok1 := fields["command"]
	name, ok2 := fields["unikernel_name"]
	if !ok1 || !ok2 {
		c.alert(http.StatusBadRequest, "Missing unikernel name or command in request.")
		return
	}
	if problem := checkCommand(command); problem != "" {
		c.alert(http.StatusBadRequest, "Command is malformated. Command: "+command+", Received error: "+problem)
		return
	}
	if !c.srv.monitored(name) {
		c.alert(http.StatusBadRequest, "An error "+occurred+": "+connectError(name))
		return
	}
	c.alert(http.StatusOK, "Updated "+successfully+": ok")
}

// checkCommand describes what is wrong with a command. It returns "" for a valid command: L
// or M, followed by a list of source:level or source:enable items, with * for all sources.
func checkCommand(command string) (problem string) {
	command = strings.Trim(command, " \t\n\r\f")
	if len(command) < 2 {
		return "Command is too short. got " + escaped(command)
	}
	var kind string
	var values []string
	switch command[0] {
	case 'L':
		kind, values = "logs", []string{"quiet", "app", "error", "warning", "info", "debug"}
	case 'M':
		kind, values = "metrics", []string{"enable", "disable"}
	default:
		return "Invalid command prefix (must be L or M). got " + escaped(command)
	}
	for segment := range strings.SplitSeq(command[1:], ",") {
		source, value, ok := strings.Cut(segment, ":")
		wild := strings.HasPrefix(segment, "*")
		if !ok || source == "" || wild && source != "*" || !slices.Contains(values, value) {
			return fmt.Sprintf("Invalid %s configuration. got %s", kind, escaped(command))
		}
	}
	return ""
}

// scalingPolicy is a unikernel's maximum number of instances.
type scalingPolicy struct {
	name, instance string
	maxInstances   int
}

func (p scalingPolicy) json() object {
	return object{{"name", p.name}, {"primary_albatross_instance", p.instance}, {"max_instances", p.maxInstances}}
}

// scalingUpdate handles POST /api/unikernel/scaling/update?instance=…&unikernel=….
func (c *call) scalingUpdate() {
	instance, name, ok := c.queryNames()
	if !ok {
		return
	}
	fields, ok := c.readForm()
	if !ok {
		return
	}
	c.acts(Action{Instance: instance, Unikernel: name})
	_, scale := fields["should_scale"]
	text, hasMax := fields["max_instances"]
	if !scale && !c.scales(instance, name) {
		c.alert(http.StatusOK, "No scaling policy exist for this unikernel. Nothing to do here.")
		return
	}
	if !scale {
		c.setScaling(instance, name, 1)
		return
	}
	if !hasMax {
		c.alert(http.StatusBadRequest, "Missing max number of clones to spawn.")
		return
	}
	n, ok := integer(text)
	maxInstances := int(n)
	if !ok || maxInstances < 1 {
		c.alert(http.StatusBadRequest, "Max instances must be greater than 1.")
		return
	}
	c.srv.mu.Lock()
	limit := 0
	if d := c.srv.domain(instance, c.user.name); d != nil {
		limit = d.allowed().Unikernels
	}
	c.srv.mu.Unlock()
	if maxInstances > 1 && maxInstances > limit {
		c.alert(http.StatusBadRequest, fmt.Sprintf("Error: you can spawn a maximum of %d clones.", limit))
		return
	}
	c.setScaling(instance, name, maxInstances)
}

// scales reports whether a unikernel has a scaling policy.
func (c *call) scales(instance, name string) bool {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	return slices.ContainsFunc(c.user.scaling, scalingOf(instance, name))
}

func scalingOf(instance, name string) func(scalingPolicy) bool {
	return func(p scalingPolicy) bool { return p.name == name && p.instance == instance }
}

// setScaling replaces a unikernel's scaling policy. It removes the policy if the new one
// allows only one instance.
func (c *call) setScaling(instance, name string, maxInstances int) {
	c.srv.mu.Lock()
	c.user.scaling = slices.DeleteFunc(c.user.scaling, scalingOf(instance, name))
	if maxInstances > 1 {
		c.user.scaling = slices.Insert(c.user.scaling, 0, scalingPolicy{name, instance, maxInstances})
	}
	c.srv.mu.Unlock()
	c.alert(http.StatusOK, "Unikernel scaling policy updated successfully.")
}
