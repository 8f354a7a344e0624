package mollymawktest

import (
	"errors"
	"net"
	"slices"
)

// config is the parsed form of unikernel_config.
type config struct {
	typ           string
	onFailure     failBehaviour
	cpuids        []int64 // sorted, without duplicates
	vcpus         int64
	bootPartition string
	memory        int64
	networks      []network
	blocks        []blockDevice
	arguments     []string
}

type failBehaviour struct {
	restart   bool
	exitCodes []int64 // nil means all
}

type network struct{ name, host string }

type blockDevice struct {
	name, host string
	sectorSize int64
}

// parseConfig parses a unikernel_config. It checks the members in this order and returns
// the first error: fail_behaviour, CPUs, vcpus, boot partition, memory, networks, blocks,
// arguments, startup, typ. With Generation2025, the CPU and typ are optional.
func parseConfig(text string, generation Generation) (config, error) {
	value, err := parseJSON(text)
	if err != nil {
		return config{}, err
	}
	o, ok := value.(object)
	if !ok {
		return config{}, errors.New("not a json assoc")
	}
	p := configParser{o: o}
	cfg := config{
		onFailure:     p.failBehaviour(),
		cpuids:        p.cpuids(generation),
		vcpus:         p.integer("vcpus", 1, 1, 1<<62, "vcpus must be a positive integer greater than 0"),
		bootPartition: p.bootPartition(),
		memory:        p.integer("memory", 32, -1<<62, 1<<62, "memory must be an integer"),
		networks:      p.networks(),
		blocks:        p.blocks(),
		arguments:     p.arguments(),
	}
	p.integer("startup", 50, 0, 100, "startup must be an integer between 1 and 100, default is 50")
	cfg.typ = p.typ(generation)
	return cfg, p.err
}

// configParser records the first error.
type configParser struct {
	o   object
	err error
}

func (p *configParser) fail(text string) {
	if p.err == nil {
		p.err = errors.New(text)
	}
}

func (p *configParser) failBehaviour() failBehaviour {
	value, ok := p.o.get("fail_behaviour")
	if !ok || value == "quit" {
		return failBehaviour{}
	}
	o, ok := value.(object)
	if !ok {
		p.fail("fail behaviour must be quit or restart")
		return failBehaviour{}
	}
	if _, ok := o.get("restart"); !ok {
		p.fail("expected a restart")
	}
	behaviour := failBehaviour{restart: true}
	codes, ok := o.get("exit_code")
	if !ok {
		return behaviour
	}
	list, ok := codes.([]any)
	if !ok {
		p.fail("expected a list of integers as exit_code payload")
	}
	behaviour.exitCodes = p.integers(list, "fail_behaviour exit code is not an integer")
	return behaviour
}

// integers returns a list's integers, sorted and without duplicates. The result is never
// nil.
func (p *configParser) integers(list []any, problem string) []int64 {
	set := []int64{}
	for _, item := range list {
		n, ok := item.(int64)
		if !ok {
			p.fail(problem)
		}
		set = append(set, n)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func (p *configParser) cpuids(generation Generation) []int64 {
	value, ok := p.o.get("cpuids")
	if !ok {
		id, ok := p.o.get("cpuid")
		if !ok && generation == Generation2025 {
			return []int64{0}
		}
		if !ok {
			p.fail("cpuids must be a list of integers")
		}
		n, ok := id.(int64)
		if !ok {
			p.fail("cpuid must be an integer")
		}
		return []int64{n}
	}
	list, ok := value.([]any)
	if !ok {
		p.fail("CPUids must be a list of integers")
	} else if len(list) == 0 {
		p.fail("CPUids cannot be an empty list")
	}
	return p.integers(list, "CPUid is not an int")
}

func (p *configParser) integer(name string, missing, minimum, maximum int64, problem string) int64 {
	value, ok := p.o.get(name)
	if !ok {
		return missing
	}
	n, ok := value.(int64)
	if !ok || n < minimum || n > maximum {
		p.fail(problem)
	}
	return n
}

func (p *configParser) bootPartition() string {
	value, _ := p.o.get("linux_boot_partition")
	text, ok := value.(string)
	if !ok && value != nil {
		p.fail("linux_boot_partition must be a string")
	}
	return text
}

func (p *configParser) list(name, problem string) []any {
	value, ok := p.o.get(name)
	list, isList := value.([]any)
	if ok && !isList {
		p.fail(problem)
	}
	return list
}

// device parses a device, either "name" or {"name", "host_device", …}.
func (p *configParser) device(item any) (name, host string, rest object) {
	switch item := item.(type) {
	case string:
		return item, item, nil
	case object:
		if _, ok := item.get("name"); !ok {
			p.fail("name must be present in the json")
		}
		name, ok := get[string](item, "name")
		if !ok {
			p.fail("couldn't decode json")
		}
		host := name
		if value, _ := item.get("host_device"); value != nil {
			if host, ok = value.(string); !ok {
				p.fail("couldn't decode json")
			}
		}
		return name, host, item
	}
	p.fail("bad json, either string or assoc")
	return "", "", nil
}

func (p *configParser) networks() []network {
	var networks []network
	for _, item := range p.list("network_interfaces", "expected a list of network devices") {
		name, host, rest := p.device(item)
		if value, _ := rest.get("mac"); value != nil {
			text, ok := value.(string)
			if !ok {
				p.fail("couldn't decode json")
			} else if mac, err := net.ParseMAC(text); err != nil || len(mac) != 6 {
				p.fail("macaddr: invalid address " + text)
			}
		}
		networks = append(networks, network{name, host})
	}
	return networks
}

func (p *configParser) blocks() []blockDevice {
	var blocks []blockDevice
	for _, item := range p.list("block_devices", "expected a list of block devices") {
		name, host, rest := p.device(item)
		device := blockDevice{name, host, 512}
		if value, _ := rest.get("sector_size"); value != nil {
			size, ok := value.(int64)
			if !ok {
				p.fail("couldn't decode json")
			}
			device.sectorSize = size
		}
		blocks = append(blocks, device)
	}
	return blocks
}

func (p *configParser) arguments() []string {
	var arguments []string
	for _, item := range p.list("arguments", "arguments must be a list of strings") {
		text, ok := item.(string)
		if !ok {
			p.fail("argument is not a string")
		}
		arguments = append(arguments, text)
	}
	return arguments
}

func (p *configParser) typ(generation Generation) string {
	value, ok := p.o.get("typ")
	text, isText := value.(string)
	switch {
	case !ok && generation == Generation2025:
		return "solo5"
	case !ok:
		p.fail("typ must be provided")
	case !isText:
		p.fail("typ must be a string")
	case text != "solo5" && text != "bhyve":
		p.fail("only 'solo5' and 'bhyve' supported as typ")
	}
	return text
}

// json returns the unikernel's entry for the list of unikernels.
func (u *unikernel) json(name string, d *domain) object {
	cfg := u.config
	var onFailure any = "quit"
	if cfg.onFailure.restart {
		onFailure = object{
			{"restart", nil},
			{"exit_code", list(cfg.onFailure.exitCodes)},
			{"all_exit_codes", cfg.onFailure.exitCodes == nil},
		}
	}
	blocks, networks := []any{}, []any{}
	for _, device := range cfg.blocks {
		size := int64(0)
		if b := d.blocks[device.host]; b != nil {
			size = b.size
		}
		blocks = append(blocks, object{
			{"name", device.name}, {"host_device", device.host}, {"sector_size", device.sectorSize}, {"size", size},
		})
	}
	for _, n := range cfg.networks {
		networks = append(networks, object{{"name", n.name}, {"host_device", n.host}})
	}
	var bootPartition any
	if cfg.bootPartition != "" {
		bootPartition = cfg.bootPartition
	}
	return object{
		{"name", name},
		{"fail_behaviour", onFailure},
		{"cpuids", list(cfg.cpuids)},
		{"memory", cfg.memory},
		{"block_devices", blocks},
		{"network_interfaces", networks},
		{"arguments", list(cfg.arguments)},
		{"numcpus", cfg.vcpus},
		{"linux_boot_partition", bootPartition},
	}
}

// list returns items as a JSON array.
func list[T any](items []T) []any {
	array := []any{}
	for _, item := range items {
		array = append(array, item)
	}
	return array
}
