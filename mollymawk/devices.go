package mollymawk

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// devices reads the volumes that a unikernel's configuration attaches. Its other members name
// no resources: network_interfaces are bridges, which policies restrict, and
// linux_boot_partition is a partition of the first volume.
func devices(v values) ([]token.Resource, error) {
	const list = "block_devices"
	i, err := v.find(list)
	if err != nil || i < 0 {
		return nil, err
	}
	var entries []jsontext.Value
	if v.members[i].value.Kind() != jsontext.KindBeginArray || json.Unmarshal(v.members[i].value, &entries) != nil {
		return nil, invalid("%s: %s must be an array.", v.place, list)
	}
	var resources []token.Resource
	for _, entry := range entries {
		volume, err := attached(entry)
		if err != nil {
			return nil, err
		}
		resources = append(resources, token.Resource{Type: "block", Name: volume})
	}
	return resources, nil
}

// attached returns the name of the volume that an entry of block_devices attaches. An entry is
// either the volume's name or an object. In an object, name is the device's name in the image,
// and host_device is the volume. It may be missing or null if the names are the same.
func attached(entry jsontext.Value) (string, error) {
	const device, volume = "name", "host_device"
	v := values{place: "An entry of block_devices"}
	switch entry.Kind() {
	case jsontext.KindString:
		v.members = object{{device, entry}}
	case jsontext.KindBeginObject:
		v.members, _ = parseObject(entry)
	default:
		return "", invalid("%s must be a name or an object.", v.place)
	}
	name, err := v.text(device)
	if err != nil {
		return "", err
	}
	if err := checkLabel(device, name); err != nil {
		return "", err
	}
	i, err := v.find(volume)
	if err != nil {
		return "", err
	}
	if i < 0 || v.members[i].value.Kind() == jsontext.KindNull {
		return name, checkVolume(device, name)
	}
	host, err := v.text(volume)
	if err != nil {
		return "", err
	}
	return host, checkVolume(volume, host)
}

// checkVolume returns an error unless name is a volume's exact name. In a configuration,
// albatross compares names without folding their case.
func checkVolume(member, name string) error {
	if err := checkLabel(member, name); err != nil {
		return err
	}
	if name != strings.ToLower(name) {
		return invalid("block_devices: write the volume's name %q in lower case.", name)
	}
	return nil
}
