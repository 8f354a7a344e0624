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

// label returns the name of a user, instance, unikernel or block in the form in which
// albatross stores it.
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
	policy     *Policy // nil: none
	unikernels map[string]*unikernel
	blocks     map[string]*block
	consoles   map[string]*console // also of unikernels that don't exist
}

type unikernel struct {
	config  config
	size    int64 // of the image
	sha256  [32]byte
	devices devices // of the image; nil if unknown, so that any configuration fits
	problem error   // why albatross refuses the image; nil if it doesn't
	started time.Time
}

// block is a block device. data may be shorter than size: the rest is zeros.
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

// command runs f on the user's domain on an instance, as a command sent to albatross. The
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

// sendResult responds with albatross's text, or with 500 and its error.
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

// create starts a unikernel. With force, it replaces one of the same name: the old one
// stops once the policy and the block devices are checked, even if the new image is then
// refused.
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

// check checks whether the policy and the block devices allow another unikernel, in
// albatross's order.
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
// image against the configuration before the unikernel stops, but the policy only after
// that.
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

// openBlock clears a block for writing. Its error doesn't say why it fails: albatross
// refuses only while the data is already being sent, and the reason is lost.
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
	// Started is the time at which it was created or last restarted.
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

// AddUnikernel starts a unikernel with the block devices called blocks. It creates the
// user if necessary. It panics if albatross would refuse the unikernel.
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

// AddBlock creates a block device of size MiB that starts with data. It creates the user
// if necessary. It panics if albatross would refuse the block device.
func (s *Server) AddBlock(user, instance, name string, size int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.mustDomain(user, instance)
	if err := d.addBlock(mustLabel(name), int64(size)); err != nil {
		panic("mollymawktest: " + err.Error())
	}
	d.blocks[mustLabel(name)].data = slices.Clone(data)
}

// Block returns the data written to a block device, without the zeros that fill it up. It
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
