package mollymawk_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// random generates requests. It is deterministic for each seed.
type random struct{ *rand.Rand }

func newRandom(seed, number uint64) random { return random{rand.New(rand.NewPCG(seed, number))} }

// chance reports true in this percentage of calls.
func (r random) chance(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r random, choices ...T) T { return choices[r.IntN(len(choices))] }

// Names that exist in the stand-in, with others that look like them. Names are shared by all
// types of resources, so that a resource taken for another type is a difference.
var (
	instances = []string{"default", "edge", "i.1"}
	names     = []string{"web", "shop", "web-1", "data", "logs", "default", "edge", "0"}
	// odd are names that one program might accept or read differently.
	odd = []string{"", "-web", "web_1", "web/../shop", "web\x00", "web\n", " web", "web ", "web,shop", "web;shop",
		"wéb", "\u212aey", "we\u017f", "*", "web*", "../web", "web&instance=edge", "web#", "web%00", "web+",
		"web\xff", "\ufeffweb",
		strings.Repeat("w", 63), strings.Repeat("w", 64), "/dev/zvol/web", "web\"", "web\\", "{}", "null"}
)

// name returns one of the names, sometimes in another case, and rarely an odd one.
func (r random) name(from []string) string {
	name := pick(r, from...)
	switch {
	case r.chance(3):
		return pick(r, odd...)
	case r.chance(15):
		return strings.ToUpper(name)
	case r.chance(10):
		return strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}

func (r random) instance() string { return r.name(instances) }

// pair is a member of a JSON object: a name and JSON.
type pair struct{ name, value string }

// quote returns text as a JSON string, sometimes with escapes.
func (r random) quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	escape := r.chance(10)
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || escape && c < 0x80 && r.chance(40):
			fmt.Fprintf(&b, pick(r, `\u%04x`, `\u%04X`), c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// object returns a JSON object with random changes and in a random spelling. It is sometimes
// malformed.
func (r random) object(pairs []pair) string {
	for range pick(r, 0, 0, 0, 1, 1, 2) {
		pairs = r.mutate(slices.Clone(pairs))
	}
	text := r.spell(pairs)
	switch {
	case r.chance(2):
		return text + pick(r, "{}", "x", "\x00", ",", "//", " null", `{"name":"shop"}`)
	case r.chance(1):
		return "\ufeff" + text
	}
	return text
}

// spell writes an object with random white space and escapes, and sometimes as only Mollymawk's
// parser accepts it: with comments and with names without quotes.
func (r random) spell(pairs []pair) string {
	space := func() string { return "" }
	switch {
	case r.chance(15):
		space = func() string { return pick(r, "", " ", "\n", "\t", "\r\n  ") }
	case r.chance(2):
		space = func() string { return pick(r, "", "", "/* x */", "//x\n", "\v", "\u00a0", `/*"name":"x",*/`) }
	}
	quote := r.quote
	if r.chance(1) {
		quote = func(name string) string { return name }
	}
	var members []string
	for _, p := range pairs {
		members = append(members, space()+quote(p.name)+space()+":"+space()+p.value+space())
	}
	return space() + "{" + strings.Join(members, ",") + "}" + space()
}

// mutate changes the members of an object.
func (r random) mutate(pairs []pair) []pair {
	if len(pairs) == 0 {
		return pairs
	}
	i := r.IntN(len(pairs))
	other := pair{pairs[i].name, r.quote(r.name(names))}
	switch r.IntN(16) {
	case 0, 1, 2, 3:
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	case 4, 5, 6:
		nested := `"` + other.name + `":` + other.value
		value := pick(r, "{"+nested+"}", "[{"+nested+"}]", other.value, "["+other.value+",1.50e3,true,null]")
		more := pair{pick(r, "x", "names", "name ", "instance", "uuid", ""), value}
		return slices.Insert(pairs, r.IntN(len(pairs)+1), more)
	case 7:
		return slices.Insert(pairs, r.IntN(len(pairs)+1), other) // a duplicate
	case 8:
		other.name = r.respell(other.name)
		return slices.Insert(pairs, r.IntN(len(pairs)+1), other)
	case 9:
		pairs[i].name = r.respell(pairs[i].name)
	case 10:
		pairs[i].value = pick(r, "null", "1", "true", "[]", "{}", "["+other.value+"]", `{"name":`+other.value+"}",
			"1e999", "NaN", "-Infinity", `"\ud800"`, `"\ud83d\ude00"`, "\"\xff\"", "'web'", "web", `"web`,
			`"\web"`, "01")
	case 11:
		return slices.Delete(pairs, i, i+1)
	case 12:
		pairs[i] = other
	case 13:
		return append(pairs, pair{"name", other.value}, pair{"albatross_instance", r.quote(r.instance())})
	case 14:
		return append(pairs, pair{"block_devices", "[" + other.value + "]"})
	case 15:
		return append(pairs, pair{"arguments", r.quote(`{"block_devices":[` + other.value + "]}")})
	}
	return pairs
}

// respell returns a name that some programs take for the same one.
func (r random) respell(name string) string {
	if name == "" {
		return name
	}
	i := r.IntN(len(name))
	return pick(r, strings.ToUpper(name), name[:i]+strings.ToUpper(name[i:i+1])+name[i+1:],
		strings.ReplaceAll(name, "s", "ſ"), strings.ReplaceAll(name, "k", "\u212a"), strings.ReplaceAll(name, "_", "-"),
		name+"\x00", " "+name, name+" ", name+"\u200b")
}

// config returns a unikernel_config.
func (r random) config() string {
	pairs := []pair{{"typ", pick(r, `"solo5"`, `"solo5"`, `"bhyve"`)}, {"cpuids", "[0]"}, {"memory", "32"}}
	if r.chance(30) {
		pairs = append(pairs, pair{"network_interfaces",
			pick(r, `["service"]`, `["data"]`, `[{"name":"service","host_device":"shop"}]`)})
	}
	if r.chance(20) {
		pairs = append(pairs, pair{"linux_boot_partition", pick(r, `"data"`, `"gpt2"`, "null")},
			pair{"arguments", `["--name=shop","--block=data"]`})
	}
	if r.chance(70) {
		var devices []string
		for range r.IntN(4) {
			devices = append(devices, r.device())
		}
		pairs = append(pairs, pair{"block_devices", "[" + strings.Join(devices, pick(r, ",", " , ")) + "]"})
	}
	return r.object(pairs)
}

// device returns an entry of block_devices.
func (r random) device() string {
	volume := pick(r, names...)
	if r.chance(6) {
		volume = r.name(names)
	}
	if r.chance(40) {
		return r.quote(volume)
	}
	pairs := []pair{{"name", r.quote(volume)}}
	if r.chance(70) {
		pairs = []pair{{"name", r.quote(pick(r, "storage", "0", "data"))}, {"host_device", r.quote(volume)}}
	}
	if r.chance(20) {
		pairs = append(pairs, pair{"sector_size", pick(r, "512", "4096", "null")})
	}
	if r.chance(5) {
		pairs = append(pairs, pair{"host_device", "null"})
	}
	if r.chance(90) {
		return r.spell(pairs)
	}
	return r.object(pairs)
}
