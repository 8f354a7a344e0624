package mollymawktest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
)

// Manifest lists the devices for which a unikernel was built.
type Manifest struct{ Networks, Blocks []string }

// ELF notes of a Solo5 image (solo5-elftool, lib/elf.ml).
const (
	abiSection, abiType           = ".note.solo5.abi", 0x31494241
	manifestSection, manifestType = ".note.solo5.manifest", 0x3154464d
	noteOwner                     = "Solo5\x00"

	deviceLength           = 104
	deviceBlock, deviceNet = 1, 2
	deviceFirst            = 1 << 30 // the first entry of every manifest
)

// Image returns an image that albatross accepts for a unikernel with these devices: an ELF
// file with Solo5's notes and the given content. The image can't run. Albatross refuses it
// if it is truncated.
func Image(m Manifest, content []byte) []byte {
	list := devices{{kind: deviceFirst}}
	for _, name := range m.Networks {
		list = append(list, device{deviceNet, name})
	}
	for _, name := range m.Blocks {
		list = append(list, device{deviceBlock, name})
	}
	abi := note(abiType, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 1), 2), make([]byte, 8))
	manifest := note(manifestType, make([]byte, 4), list.encode())

	var names, body bytes.Buffer
	names.WriteByte(0)
	sections := []elf.Section64{{}}
	add := func(name string, kind elf.SectionType, data []byte) {
		sections = append(sections, elf.Section64{
			Name: uint32(names.Len()), Type: uint32(kind), Off: uint64(headerLength + body.Len()),
			Size: uint64(len(data)), Addralign: 1,
		})
		names.WriteString(name + "\x00")
		body.Write(data)
	}
	add(manifestSection, elf.SHT_NOTE, manifest)
	add(abiSection, elf.SHT_NOTE, abi)
	add(".data", elf.SHT_PROGBITS, content)
	const last = ".shstrtab"
	add(last, elf.SHT_STRTAB, []byte(names.String()+last+"\x00"))

	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
		},
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Ehsize: headerLength, Shentsize: sectionLength, Shnum: uint16(len(sections)),
		Shstrndx: uint16(len(sections) - 1),
		Shoff:    uint64(headerLength + body.Len()),
	}
	var file bytes.Buffer
	_ = binary.Write(&file, binary.LittleEndian, h) // a bytes.Buffer never fails
	file.Write(body.Bytes())
	_ = binary.Write(&file, binary.LittleEndian, sections) // as above
	return file.Bytes()
}

const (
	headerLength  = 64
	sectionLength = 64
)

func note(kind uint32, parts ...[]byte) []byte {
	description := slices.Concat(parts...)
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(noteOwner)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(description)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = append(append(b, noteOwner...), 0, 0) // the description is aligned
	return append(b, description...)
}

// devices lists a manifest's devices, in order.
type devices []device

type device struct {
	kind uint32
	name string
}

func (d devices) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 1) // version
	b = binary.LittleEndian.AppendUint32(b, uint32(len(d)))
	for _, device := range d {
		var entry [deviceLength]byte
		copy(entry[:67], device.name)
		binary.LittleEndian.PutUint32(entry[68:], device.kind)
		b = append(b, entry[:]...)
	}
	return b
}

// String returns the devices in the format of albatross's errors.
func (d devices) String() string {
	var list []string
	for _, device := range d {
		kind := "net"
		if device.kind == deviceBlock {
			kind = "block"
		}
		list = append(list, kind+` "`+escaped(device.name)+`"`)
	}
	return strings.Join(list, ", ")
}

// match returns an error unless a configuration has the same devices as the manifest.
func (d devices) match(cfg config) error {
	present := make(map[device]bool)
	for _, device := range d {
		present[device] = true
	}
	blocks, networks := make(map[device]bool), make(map[device]bool)
	for _, b := range cfg.blocks {
		blocks[device{deviceBlock, b.name}] = true
	}
	for _, n := range cfg.networks {
		networks[device{deviceNet, n.name}] = true
	}
	same := func(kind uint32, given map[device]bool) bool {
		n := 0
		for device := range present {
			if device.kind == kind {
				if !given[device] {
					return false
				}
				n++
			}
		}
		return n == len(given)
	}
	switch {
	case !same(deviceBlock, blocks):
		return failureError("specified block device(s) does not match with manifest. Devices present in manifest: " +
			d.String())
	case !same(deviceNet, networks):
		return failureError("specified bridge(s) does not match with the manifest. Devices present in manifest: " +
			d.String())
	}
	return nil
}

const (
	errELF        = failureError("error during ELF parsing")
	errNoManifest = failureError("manifest not found")
)

// imageWindow is the number of bytes stored from each end of an image.
const imageWindow = 64 << 10

// imageFile stores the first and last bytes of an image that is written to it. That is
// where linkers place the parts that albatross reads.
type imageFile struct {
	head, tail []byte
	size       int64
}

// Write implements io.Writer.
func (f *imageFile) Write(p []byte) (int, error) {
	n := len(p)
	f.size += int64(n)
	if room := min(imageWindow-len(f.head), len(p)); room > 0 {
		f.head = append(f.head, p[:room]...)
		p = p[room:]
	}
	p = p[max(0, len(p)-imageWindow):]
	if len(f.tail)+len(p) > 2*imageWindow {
		f.tail = append(f.tail[:0], f.tail[len(f.tail)-imageWindow:]...)
	}
	f.tail = append(f.tail, p...)
	return n, nil
}

// errNotStored is returned for a read from a part of an image that isn't stored.
var errNotStored = errors.New("this part of the image isn't stored")

// ReadAt implements io.ReaderAt.
func (f *imageFile) ReadAt(p []byte, offset int64) (int, error) {
	end := min(offset+int64(len(p)), f.size)
	tail := f.size - int64(len(f.tail))
	n := 0
	for offset < end {
		var m int
		switch {
		case offset < int64(len(f.head)):
			m = copy(p[n:], f.head[offset:])
		case offset >= tail:
			m = copy(p[n:], f.tail[offset-tail:])
		default:
			return n, errNotStored
		}
		n, offset = n+m, offset+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// manifest returns an image's devices, or albatross's error. Both results are nil if the
// image's notes aren't near its start or end.
func (f *imageFile) manifest() (devices, error) {
	file, err := elf.NewFile(f)
	switch {
	case errors.Is(err, errNotStored):
		return nil, nil
	case err != nil:
		return nil, errELF
	}
	abi, err := findNote(file, abiSection, abiType)
	if err == nil && (len(abi) != 16 || abi[0] != 1 && abi[0] != 2) { // hvt and spt
		err = failureError("unsupported solo5 target")
	}
	var list []byte
	if err == nil {
		list, err = findNote(file, manifestSection, manifestType)
	}
	switch {
	case errors.Is(err, errNotStored):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return parseDevices(list)
}

// findNote returns a note's description.
func findNote(file *elf.File, section string, kind uint32) ([]byte, error) {
	s := file.Section(section)
	if s == nil {
		return nil, errNoManifest
	}
	data, err := s.Data()
	if errors.Is(err, errNotStored) {
		return nil, errNotStored
	}
	const fixed = 12 + len(noteOwner)
	if err != nil || len(data) < fixed {
		return nil, errELF
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if binary.LittleEndian.Uint32(data[8:]) != kind || string(data[12:fixed]) != noteOwner {
		return nil, errNoManifest
	}
	data = data[fixed:]
	if padding := -(int64(s.Offset) + int64(fixed)) & 3; int64(len(data)) >= padding+int64(length) {
		return data[padding : padding+int64(length)], nil
	}
	return nil, errELF
}

// parseDevices parses a manifest. It skips the first entry, which isn't a device.
func parseDevices(data []byte) (devices, error) {
	const fixed = 12
	if len(data) < fixed+deviceLength {
		return nil, failureError("manifest too small")
	}
	n := int(binary.LittleEndian.Uint32(data[8:]))
	data = data[fixed:]
	if n < 1 || len(data) != n*deviceLength {
		return nil, failureError("unexpected note size")
	}
	list := devices{}
	for entry := range slices.Chunk(data[deviceLength:], deviceLength) {
		name, _, _ := strings.Cut(string(entry[:68]), "\x00")
		list = append(list, device{binary.LittleEndian.Uint32(entry[68:]), name})
	}
	return list, nil
}

var (
	_ io.Writer   = (*imageFile)(nil)
	_ io.ReaderAt = (*imageFile)(nil)
)
