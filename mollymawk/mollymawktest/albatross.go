package mollymawktest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// failureError is an error response from albatross.
type failureError string

func (e failureError) Error() string { return "failure: " + escaped(string(e)) }

// unreachableError reports why albatross couldn't be reached.
type unreachableError string

func (e unreachableError) Error() string { return string(e) }

// label returns the name of a user, instance, unikernel or block as albatross stores it.
func label(name string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
	if name == "" || len(name) > 63 || name[0] == '-' || strings.Trim(name, letters) != "" {
		return "", errors.New("invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	}
	return strings.ToLower(name), nil
}

// instance is an albatross instance. It has a separate domain for each user.
type instance struct {
	domains map[string]*domain // by user
}

func newInstance() *instance { return &instance{domains: make(map[string]*domain)} }

// domain holds a user's unikernels and blocks on an instance. Server.mu guards it.
type domain struct {
	user       string
	policy     *Policy // nil if there is none
	unikernels map[string]*unikernel
	blocks     map[string]*block
	consoles   map[string]*console // includes consoles of unikernels that don't exist
}

type unikernel struct {
	config  config
	size    int64 // of the image
	sha256  [32]byte
	devices devices // of the image; nil if unknown, so any configuration matches
	problem error   // why albatross refuses the image; nil if it accepts the image
	started time.Time
}

// block is a block device. data may be shorter than size; the remaining bytes are zero.
type block struct {
	size int64 // MiB
	data []byte
}

func (b *block) bytes() int64 { return b.size << 20 }

func (s *Server) hasInstance(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[name] != nil
}

// domain returns a user's domain on an instance, or nil if there is no such instance. The
// caller must hold s.mu.
func (s *Server) domain(instance, user string) *domain {
	i := s.instances[instance]
	if i == nil {
		return nil
	}
	d := i.domains[user]
	if d == nil {
		d = &domain{
			user: user, policy: s.options.Policy,
			unikernels: make(map[string]*unikernel), blocks: make(map[string]*block),
			consoles: make(map[string]*console),
		}
		i.domains[user] = d
	}
	return d
}

// command runs f on the user's domain on an instance, like a command sent to albatross. On
// failure, it returns a failureError or an unreachableError.
func (c *call) command(instance string, f func(*domain) (string, error)) (string, error) {
	if text := c.srv.faults.Load().Unreachable[instance]; text != "" {
		return "", unreachableError(text)
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	d := c.srv.domain(instance, c.user.name)
	if d == nil {
		return "", unreachableError("the instance has been deleted")
	}
	return f(d)
}

// sendResult responds with albatross's text, or with status 500 and albatross's error.
func (c *call) sendResult(text string, err error) {
	var unreachable unreachableError
	switch {
	case errors.As(err, &unreachable):
		c.say(500, "Error querying albatross: "+err.Error())
	case err != nil:
		c.say(500, err.Error())
	default:
		c.say(200, text)
	}
}

// create starts a unikernel. With force, it replaces any unikernel with the same name. The
// old unikernel is stopped once the policy and block device checks have passed, even if
// albatross then refuses the new image.
func (d *domain) create(name string, u *unikernel, force bool) (string, error) {
	old := d.unikernels[name]
	if old != nil && !force {
		return "", failureError("Unikernel with same name is already running")
	}
	delete(d.unikernels, name)
	if err := d.check(u.config); err != nil {
		if old != nil {
			d.unikernels[name] = old
		}
		return "", err
	}
	if err := u.checkImage(); err != nil {
		return "", err
	}
	d.unikernels[name] = u
	return "created unikernel", nil
}

// check reports an error if the policy or the block devices don't allow another unikernel.
// It checks in the same order as albatross.
func (d *domain) check(cfg config) error {
	if err := d.allowed().allow(d, cfg); err != nil {
		return err
	}
	for _, device := range cfg.blocks {
		if d.blocks[device.host] == nil {
			return failureError(fmt.Sprintf("block device %s:%s not found", d.user, device.host))
		}
		if d.inUse(device.host) {
			return failureError(fmt.Sprintf("block device %s:%s already in use", d.user, device.host))
		}
	}
	return nil
}

// allowed returns the policy, or an empty one if there is none.
func (d *domain) allowed() *Policy {
	if d.policy == nil {
		return &Policy{}
	}
	return d.policy
}

func (u *unikernel) checkImage() error {
	switch {
	case u.problem != nil:
		return u.problem
	case u.devices == nil:
		return nil
	}
	return u.devices.match(u.config)
}

func (d *domain) destroy(name string) (string, error) {
	if d.unikernels[name] == nil {
		return "", failureError("destroy: not found")
	}
	delete(d.unikernels, name)
	d.consoleOf(name).lines = nil
	return "destroyed unikernel", nil
}

// restart restarts a unikernel, with a new configuration unless cfg is nil. It checks the
// image against the configuration before stopping the unikernel, and the policy afterwards.
func (d *domain) restart(name string, cfg *config, now time.Time) (string, error) {
	old := d.unikernels[name]
	if old == nil {
		return "", failureError("destroy: not found")
	}
	u := *old
	u.started = now
	if cfg != nil {
		u.config = *cfg
		u.config.typ = old.config.typ
	}
	delete(d.unikernels, name)
	err := d.check(old.config)
	if err == nil {
		err = u.checkImage()
	}
	if err != nil {
		d.unikernels[name] = old
		return "", err
	}
	return d.create(name, &u, true)
}

func (d *domain) inUse(block string) bool {
	for _, u := range d.unikernels {
		if slices.ContainsFunc(u.config.blocks, func(dev blockDevice) bool { return dev.host == block }) {
			return true
		}
	}
	return false
}

func (d *domain) addBlock(name string, size int64) error {
	if d.blocks[name] != nil {
		return failureError("file already exists")
	}
	if err := d.allowed().allowBlock(d, size); err != nil {
		return err
	}
	if size <= 0 {
		return failureError("overflow while computing bytes")
	}
	d.blocks[name] = &block{size: size}
	return nil
}

// openBlock clears a block before data is written to it. Its error includes no reason:
// albatross refuses only once data is being sent, and by then the reason is lost.
func (d *domain) openBlock(name string) (*block, error) {
	b := d.blocks[name]
	if b == nil || d.inUse(name) {
		return nil, failureError("writing block data")
	}
	b.data = nil
	return b, nil
}

func (d *domain) removeBlock(name string) (string, error) {
	switch {
	case d.blocks[name] == nil:
		return "", failureError("remove block: not found")
	case d.inUse(name):
		return "", failureError("remove block: is in use")
	}
	delete(d.blocks, name)
	return "removed block", nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Unikernel describes a running unikernel.
type Unikernel struct {
	Instance, Name string
	Arguments      []string
	// ImageSize, in bytes, and ImageSHA256 describe the uploaded image. They are zero if
	// none was uploaded.
	ImageSize   int64
	ImageSHA256 [32]byte
	// Started is the time when the unikernel was created or last restarted.
	Started time.Time
}

// Unikernels returns a user's running unikernels, ordered by instance and name.
func (s *Server) Unikernels(user string) []Unikernel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Unikernel
	for instance, i := range s.instances {
		d := i.domains[strings.ToLower(user)]
		if d == nil {
			continue
		}
		for name, u := range d.unikernels {
			list = append(list, Unikernel{
				Instance: instance, Name: name, Arguments: slices.Clone(u.config.arguments),
				ImageSize: u.size, ImageSHA256: u.sha256, Started: u.started,
			})
		}
	}
	slices.SortFunc(list, func(a, b Unikernel) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// AddUnikernel starts a unikernel that uses the named block devices. It creates the user if
// necessary. It panics if albatross would refuse the unikernel.
func (s *Server) AddUnikernel(user, instance, name string, blocks ...string) {
	cfg := config{cpuids: []int64{0}, memory: 32, vcpus: 1}
	for _, b := range blocks {
		b = mustLabel(b)
		cfg.blocks = append(cfg.blocks, blockDevice{name: b, host: b, sectorSize: 512})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.mustDomain(user, instance)
	if _, err := d.create(mustLabel(name), &unikernel{config: cfg, started: s.now()}, false); err != nil {
		panic("mollymawktest: " + err.Error())
	}
}

// AddBlock creates a block device of size MiB whose first bytes are data. It creates the
// user if necessary. It panics if albatross would refuse the block device.
func (s *Server) AddBlock(user, instance, name string, size int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.mustDomain(user, instance)
	if err := d.addBlock(mustLabel(name), int64(size)); err != nil {
		panic("mollymawktest: " + err.Error())
	}
	d.blocks[mustLabel(name)].data = slices.Clone(data)
}

// Block returns the data written to a block device, without trailing zero padding. It
// reports false if there is no such device.
func (s *Server) Block(user, instance, name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.mustDomain(user, instance).blocks[mustLabel(name)]
	if b == nil {
		return nil, false
	}
	return slices.Clone(b.data), true
}

func (s *Server) mustDomain(user, instance string) *domain {
	d := s.domain(mustLabel(instance), s.ensureUser(user).name)
	if d == nil {
		panic("mollymawktest: unknown instance " + instance)
	}
	return d
}

func mustLabel(name string) string {
	name, err := label(name)
	if err != nil {
		panic("mollymawktest: " + err.Error())
	}
	return name
}
