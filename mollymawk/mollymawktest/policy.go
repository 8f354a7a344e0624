package mollymawktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Policy limits the resources that a user may have on an instance. Administrators set
// policies. A user without a policy may list unikernels but can't create any.
type Policy struct {
	Unikernels int
	CPUs       []int
	Memory     int // of all unikernels, in MB
	Block      int // of all block devices, in MB; 0 allows none
	Bridges    []string
}

// allow checks whether the policy allows a new unikernel, in the same order as albatross.
func (p *Policy) allow(d *domain, cfg config) error {
	memory := int64(0)
	for _, u := range d.unikernels {
		memory += u.config.memory
	}
	var cpus, bridges []string
	for _, id := range cfg.cpuids {
		if !slices.Contains(p.CPUs, int(id)) {
			cpus = append(cpus, strconv.FormatInt(id, 10))
		}
	}
	for _, n := range cfg.networks {
		if !slices.Contains(p.Bridges, n.host) {
			bridges = append(bridges, n.host)
		}
	}
	switch {
	case len(d.unikernels)+1 > p.Unikernels:
		return failureError(fmt.Sprintf("maximum amount of unikernels (%d) reached", p.Unikernels))
	case cfg.memory > int64(p.Memory)-memory:
		return failureError(fmt.Sprintf("maximum allowed memory (%d, used %d) would be exceeded (requesting %d)",
			p.Memory, memory, cfg.memory))
	case len(cpus) > 0:
		return failureError("CPUids " + strings.Join(cpus, ", ") + " are not allowed by policy")
	case len(bridges) > 0:
		return failureError("bridges " + strings.Join(bridges, ", ") + " not allowed by policy")
	}
	return nil
}

// allowBlock checks whether the policy allows a new block device of size MB.
func (p *Policy) allowBlock(d *domain, size int64) error {
	if p.Block == 0 {
		return failureError("no block devices are allowed by policy")
	}
	used := int64(0)
	for _, b := range d.blocks {
		used += b.size
	}
	if size > int64(p.Block)-used {
		return failureError(
			fmt.Sprintf("block device policy limit of %d MB (used %d MB) would be exceeded by the request (%d MB)",
				p.Block, used, size))
	}
	return nil
}

// SetPolicy sets a user's policy on an instance, or removes it if p is nil. It creates the
// user if necessary.
func (s *Server) SetPolicy(user, instance string, p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustDomain(user, instance).policy = p
}
