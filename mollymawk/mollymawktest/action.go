package mollymawktest

// Action describes what a request acts on, as the server has read the request. All names are
// as albatross stores them.
type Action struct {
	// Path is the request's path.
	Path string
	// Instance is the albatross instance.
	Instance string
	// Unikernel and Block are the names in the command to albatross. One of them is empty.
	Unikernel, Block string
	// Attached are the block devices in the request's configuration. Updates and rollbacks
	// attach the devices of a stored configuration, which the request doesn't name, so they
	// aren't included.
	Attached []string
}

// acts reports an action to the test, before it happens. It may fail afterwards, for example
// because there is no such unikernel.
func (c *call) acts(action Action) {
	if report := c.srv.options.Acted; report != nil {
		action.Path = c.path
		report(action)
	}
}

// attached returns the block devices that a configuration attaches.
func (cfg *config) attached() []string {
	var names []string
	for _, device := range cfg.blocks {
		names = append(names, device.host)
	}
	return names
}
