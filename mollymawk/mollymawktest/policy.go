package mollymawktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Policy is what a user may have on an instance. An administrator sets it. Without
// one, the user may look and have nothing.
type Policy struct {
	Unikernels int
	CPUs       []int
	Memory     int // MB, of all unikernels
	Block      int // MB, of all block devices; 0 is none
	Bridges    []string
}

// allow is albatross' check of a new unikernel, in its order.
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
		return failureError(fmt.Sprintf("maximum allowed memory (%d, used %d) would be exceeded (requesting %d)", p.Memory, memory, cfg.memory))
	case len(cpus) > 0:
		return failureError("CPUids " + strings.Join(cpus, ", ") + " are not allowed by policy")
	case len(bridges) > 0:
		return failureError("bridges " + strings.Join(bridges, ", ") + " not allowed by policy")
	}
	return nil
}

// allowBlock is albatross' check of a new block device of size MB.
func (p *Policy) allowBlock(d *domain, size int64) error {
	if p.Block == 0 {
		return failureError("no block devices are allowed by policy")
	}
	used := int64(0)
	for _, b := range d.blocks {
		used += b.size
	}
	if size > int64(p.Block)-used {
		return failureError(fmt.Sprintf("block device policy limit of %d MB (used %d MB) would be exceeded by the request (%d MB)", p.Block, used, size))
	}
	return nil
}

// usable returns what is wrong with a new policy.
func (p *Policy) usable() (problem string) {
	switch {
	case p.Unikernels <= 0:
		return "Unusable policy with no unikernels"
	case len(p.CPUs) == 0:
		return "Unusable policy with no CPUids"
	case p.Memory <= 16:
		return fmt.Sprintf("Unusable policy with memory %d MB <= 16 MB", p.Memory)
	case p.Block < 0:
		return fmt.Sprintf("Unusable policy with block %d MB < 0 MB", p.Block)
	}
	return ""
}

// json is a policy as it is answered, with the user's name as a path.
func (p *Policy) json(user string) object {
	return object{
		{"name", user + ":"},
		{"allowed_unikernels", p.Unikernels},
		{"allowed_cpuids", list(p.CPUs)},
		{"allowed_memory", p.Memory},
		{"allowed_block_size", p.Block},
		{"allowed_bridges", list(p.Bridges)},
	}
}

// parsePolicy reads a policy. CPUs that are no numbers are left out.
func parsePolicy(o object) (*Policy, bool) {
	var p Policy
	var oks [5]bool
	for i, field := range []struct {
		name string
		n    *int
	}{{"unikernels", &p.Unikernels}, {"memory", &p.Memory}, {"block", &p.Block}} {
		var n int64
		n, oks[i] = get[int64](o, field.name)
		*field.n = int(n)
	}
	var cpuids, bridges string
	cpuids, oks[3] = get[string](o, "cpuids")
	bridges, oks[4] = get[string](o, "bridges")
	for id := range strings.SplitSeq(cpuids, ",") {
		if n, ok := integer(id); ok {
			p.CPUs = append(p.CPUs, int(n))
		}
	}
	p.Bridges = strings.Split(bridges, ",")
	p.CPUs, p.Bridges = set(p.CPUs), set(p.Bridges)
	return &p, !slices.Contains(oks[:], false)
}

// set sorts items and leaves each once.
func set[T int | string](items []T) []T {
	slices.Sort(items)
	return slices.Compact(items)
}

// SetPolicy gives a user a policy on an instance, or takes it away if it is nil. The
// user is made if need be.
func (s *Server) SetPolicy(user, instance string, p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustDomain(user, instance).policy = p
}
