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

// failureError is a refusal of albatross.
type failureError string

func (e failureError) Error() string { return "failure: " + escaped(string(e)) }

// unreachableError is why albatross couldn't be asked.
type unreachableError string

func (e unreachableError) Error() string { return string(e) }

// label is a name of a user, instance, unikernel or block as albatross keeps it.
func label(name string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
	if name == "" || len(name) > 63 || name[0] == '-' || strings.Trim(name, letters) != "" {
		return "", errors.New("invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	}
	return strings.ToLower(name), nil
}

// instance is an albatross. What users have on it is apart.
type instance struct {
	domains map[string]*domain // by user
}

func newInstance() *instance { return &instance{domains: make(map[string]*domain)} }

// domain is what a user has on an instance. It is guarded by Server.mu.
type domain struct {
	user       string
	policy     *Policy // nil: none
	unikernels map[string]*unikernel
	blocks     map[string]*block
	consoles   map[string]*console // also of unikernels that don't exist
}

type unikernel struct {
	config  config
	size    int64 // of the image
	sha256  [32]byte
	devices devices // of the image; nil: unknown, any configuration fits
	problem error   // albatross' refusal of the image
	started time.Time
}

// block is a device of size MiB. data may be shorter: the rest is zero.
type block struct {
	size int64
	data []byte
}

func (b *block) bytes() int64 { return b.size << 20 }

func (s *Server) hasInstance(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[name] != nil
}

// domain returns what a user has on an instance, or nil if there is no such
// instance. s.mu is held.
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

// command has albatross do something with what the user has on an instance. The
// error is a failureError or an unreachableError.
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

// conclude answers with albatross' text, or with 500 and its failure.
func (c *call) conclude(text string, err error) {
	var away unreachableError
	switch {
	case errors.As(err, &away):
		c.say(500, "Error querying albatross: "+err.Error())
	case err != nil:
		c.say(500, err.Error())
	default:
		c.say(200, text)
	}
}

// create starts a unikernel. With force, it takes the place of one of the same
// name, which ends as soon as the policy and the block devices are checked, whatever
// becomes of the image.
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

// check looks for what forbids another unikernel, in albatross' order.
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

// allowed is the policy, or an empty one.
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

// restart starts a unikernel again, with another configuration if there is one. What
// of that the image doesn't fit is refused before the unikernel ends, and what the
// policy forbids afterwards.
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

// openBlock empties a block before it is written. Why it can't be written is lost,
// because the data is on its way when albatross refuses it.
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

// Unikernel is a unikernel as it is known from outside.
type Unikernel struct {
	Instance, Name string
	Arguments      []string
	// ImageSize and ImageSHA256 are of the image that was uploaded, 0 otherwise.
	ImageSize   int64
	ImageSHA256 [32]byte
	// Started is when it was created or restarted.
	Started time.Time
}

// Unikernels returns what runs for a user, by instance and name.
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

// AddUnikernel starts a unikernel with these block devices. The user is made if
// need be. It panics if albatross would refuse.
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

// AddBlock makes a block device of so many MiB that begins with these bytes. The
// user is made if need be. It panics if albatross would refuse.
func (s *Server) AddBlock(user, instance, name string, size int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.mustDomain(user, instance)
	if err := d.addBlock(mustLabel(name), int64(size)); err != nil {
		panic("mollymawktest: " + err.Error())
	}
	d.blocks[mustLabel(name)].data = slices.Clone(data)
}

// Block returns what was written to a block device, without the zeros after it,
// and whether there is one.
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
		panic("mollymawktest: there is no instance " + instance)
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
