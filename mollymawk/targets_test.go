package mollymawk

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

var generations = map[string]generation{"mollymawk": current, "mollymawk-2025": generation2025}

// gateAndRoute returns a gate for a generation, and its route with this method and path or
// alias.
func gateAndRoute(t testing.TB, generation, name string) (*gate.Gate, *gate.Route) {
	t.Helper()
	table, _ := gate.TableByName(generation)
	g, err := gate.New(gate.Config{Table: table, Prefixes: token.Prefixes{"mm"}, MaxBody: 1 << 20, MaxUpload: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	method, path, _ := strings.Cut(name, " ")
	for i := range table.Routes {
		r := &table.Routes[i]
		if r.Method == method && (r.Path == path || slices.Contains(r.Aliases, path)) {
			return g, r
		}
	}
	t.Fatalf("%s has no route %s", generation, name)
	return nil, nil
}

// targetsOf converts a request and returns its targets, as "type/name type/name".
func targetsOf(t testing.TB, generation, name string, call *gate.Call) (string, error) {
	t.Helper()
	g, route := gateAndRoute(t, generation, name)
	if err := g.Adapt(route, call); err != nil {
		return "", err
	}
	resources, err := route.Targets(call)
	return list(t, resources), err
}

func list(t testing.TB, resources []token.Resource) string {
	t.Helper()
	var names []string
	for _, r := range resources {
		if r.Container != (r.Type == "instance") {
			t.Errorf("%s: got container %v", r, r.Container)
		}
		names = append(names, r.String())
	}
	return strings.Join(names, " ")
}

// wantRefusal checks that an error is a *gate.BodyError with this text.
func wantRefusal(t *testing.T, what string, err error, want string) {
	t.Helper()
	refusal, ok := errors.AsType[*gate.BodyError](err)
	if !ok || !strings.Contains(refusal.Detail, want) {
		t.Errorf("%s: got error %v, want a refusal with %q", what, err, want)
	}
}

// namedIn describes a route that names an instance and a unikernel or block.
type namedIn struct {
	route string
	// only is the one generation that this applies to; empty means both.
	only string
	// query reports whether the names are in the query.
	query bool
	// instance and other are the values' names, and typ is the type of the other resource.
	instance, other, typ string
	// rest are more members of the body.
	rest string
}

var namedRoutes = []namedIn{
	{route: "POST /api/unikernel/destroy", instance: "albatross_instance", other: "name", typ: "unikernel"},
	{route: "POST /api/unikernel/restart", only: "mollymawk", query: true, instance: "instance", other: "unikernel",
		typ: "unikernel"},
	{route: "POST /api/unikernel/restart", only: "mollymawk-2025", instance: "albatross_instance", other: "name",
		typ: "unikernel"},
	{route: "POST /api/unikernel/update", instance: "albatross_instance", other: "unikernel_name", typ: "unikernel",
		rest: `,"job":"j","to_be_updated_unikernel":"other","currently_running_unikernel":"another"`},
	{route: "POST /api/unikernel/rollback", instance: "albatross_instance", other: "unikernel_name", typ: "unikernel"},
	{route: "GET /api/unikernel/console", query: true, instance: "instance", other: "unikernel", typ: "unikernel"},
	{route: "POST /api/unikernel/scaling/update", only: "mollymawk", query: true, instance: "instance",
		other: "unikernel", typ: "unikernel"},
	{route: "POST /api/block/download", instance: "albatross_instance", other: "block_name", typ: "block",
		rest: `,"compression_level":0`},
	{route: "POST /api/volume/download", instance: "albatross_instance", other: "block_name", typ: "block",
		rest: `,"compression_level":0`},
	{route: "POST /api/block/delete", instance: "albatross_instance", other: "block_name", typ: "block"},
	{route: "POST /api/volume/delete", instance: "albatross_instance", other: "block_name", typ: "block"},
}

// generations returns the generations that have the route.
func (n namedIn) generations() []string {
	if n.only != "" {
		return []string{n.only}
	}
	return slices.Sorted(maps.Keys(generations))
}

// call returns a request with these values, each written as name=value, or as name:=JSON in a
// body.
func (n namedIn) call(values ...string) *gate.Call {
	if n.query {
		call := &gate.Call{Query: strings.Join(values, "&")}
		if strings.HasSuffix(n.route, "restart") {
			call.Body = []byte("{}")
		}
		return call
	}
	var members []string
	for _, v := range values {
		name, value, ok := strings.Cut(v, ":=")
		if !ok {
			name, value, _ = strings.Cut(v, "=")
			value = `"` + value + `"`
		}
		members = append(members, `"`+name+`":`+value)
	}
	return &gate.Call{Body: []byte("{" + strings.Join(members, ",") + n.rest + "}")}
}

func TestNamedTargets(t *testing.T) {
	t.Parallel()
	for _, n := range namedRoutes {
		for _, generation := range n.generations() {
			for _, names := range [][2]string{{"default", "web"}, {"edge", "other"}, {"DEFAULT", "Web-1.X"},
				{"0", "9."}, {strings.Repeat("i", 63), strings.Repeat("u", 63)}} {
				wanted := strings.ToLower("instance/" + names[0] + " " + n.typ + "/" + names[1])
				for _, reversed := range []bool{false, true} {
					values := []string{n.instance + "=" + names[0], n.other + "=" + names[1]}
					if reversed {
						slices.Reverse(values)
					}
					call := n.call(values...)
					got, err := targetsOf(t, generation, n.route, call)
					if err != nil || got != wanted {
						t.Errorf("%s %s %v: got %q and error %v, want %q", generation, n.route, names, got, err, wanted)
					}
					// The forwarded request has the names that were checked.
					again, err := targetsOf(t, generation, n.route, call)
					if forwarded := call.Query + string(call.Body); err != nil || again != wanted ||
						!strings.Contains(forwarded, strings.ToLower(names[1])) {
						t.Errorf("%s %s %v: forwarded %s, which has targets %q, error %v", generation, n.route, names,
							forwarded, again, err)
					}
				}
			}
		}
	}
}

// TestNamedTargetsRefused checks each value of each route.
func TestNamedTargetsRefused(t *testing.T) {
	t.Parallel()
	for _, n := range namedRoutes {
		for _, generation := range n.generations() {
			for _, name := range []string{n.instance, n.other} {
				good, bad := n.other+"=web", name
				if name == n.other {
					good = n.instance + "=default"
				}
				variants := map[string]struct {
					values []string
					want   string
				}{
					"missing":         {[]string{good}, bad},
					"empty":           {[]string{good, bad + "="}, ""},
					"no label":        {[]string{good, bad + "=a_b"}, "isn't a valid name"},
					"dash":            {[]string{good, bad + "=-a"}, "isn't a valid name"},
					"too long":        {[]string{good, bad + "=" + strings.Repeat("a", 64)}, "isn't a valid name"},
					"other case":      {[]string{good, bad + "=a", strings.ToUpper(bad) + "=b"}, ""},
					"only other case": {[]string{good, strings.ToUpper(bad) + "=b"}, ""},
					"twice":           {[]string{good, bad + "=a", bad + "=b"}, "" /* two texts */},
				}
				inBody := map[string][]string{
					"number": {good, bad + ":=0"}, "null": {good, bad + ":=null"}, "array": {good, bad + `:=["a"]`},
					"object": {good, bad + `:={"a":1}`}, "NUL": {good, bad + `:="a\u0000"`},
					"surrogate": {good, bad + `:="a\ud800"`}, "invalid UTF-8": {good, bad + "=a\xff"},
					"escaped duplicate": {good, bad + "=a", `\u00` + fmt.Sprintf("%x", bad[:1]) + bad[1:] + "=b"},
					"nested duplicate":  {good, bad + "=a", `x:={"y":{"z":1,"z":2}}`},
					"long s":            {good, bad + "=a", strings.ReplaceAll(n.instance, "s", "ſ") + "=b"},
				}
				inQuery := map[string][]string{
					"escaped duplicate": {good, bad + "=a", "%" + fmt.Sprintf("%x", bad[:1]) + bad[1:] + "=b"},
					"malformed escape":  {good, bad + "=a%zz"}, "invalid UTF-8": {good, bad + "=a%ff"},
					"malformed escape elsewhere": {good, bad + "=a", "x=%"}, "NUL": {good, bad + "=a%00"},
					"space": {good, bad + "=a+"}, "comma": {good, bad + "=a,b"}, "fragment": {good, bad + "=a#"},
					"long s": {good, bad + "=a", "in%C5%BFtance=b"},
				}
				more := inBody
				if n.query {
					more = inQuery
				}
				for variant, values := range more {
					variants[variant] = struct {
						values []string
						want   string
					}{values, ""}
				}
				for variant, tt := range variants {
					call := n.call(tt.values...)
					what := fmt.Sprintf("%s %s: %s: %s: %s%s", generation, n.route, name, variant, call.Query,
						call.Body)
					_, err := targetsOf(t, generation, n.route, call)
					wantRefusal(t, what, err, tt.want)
				}
			}
		}
	}
}

// TestBodyRefused checks bodies that aren't unambiguous JSON objects.
func TestBodyRefused(t *testing.T) {
	t.Parallel()
	const good = `"albatross_instance":"default","name":"web","unikernel_name":"web","block_name":"data"`
	for _, n := range namedRoutes {
		for _, generation := range n.generations() {
			for _, body := range []string{"", " ", "[]", `"x"`, "null", "hello", "{" + good + "} {}", "{" + good,
				"{/**/" + good + "}", "{" + good + ",}", "{" + good + `,"x":NaN}`, "{" + good + `,"x":1e999}`,
				"\ufeff{" + good + "}", "name=web&albatross_instance=default", "{" + good + "}\x00",
				"{" + strings.ReplaceAll(good, `"`, "'") + "}", "{" + good + "}//",
				"{" + good + `,"x":"` + "\t" + `"}`} {
				if n.query {
					continue
				}
				_, err := targetsOf(t, generation, n.route, &gate.Call{Body: []byte(body)})
				wantRefusal(t, fmt.Sprintf("%s %s: %q", generation, n.route, body), err, "")
			}
		}
	}
}

// TestForwardedIsNormalized checks that the forwarded request has one spelling.
func TestForwardedIsNormalized(t *testing.T) {
	t.Parallel()
	call := gate.Call{Body: []byte(` {"n\u0061me" : "W\u0065b",` + "\t" + `"x":[ 1.50, "\/" ],` +
		`"albatross_instance":"i"}` + "\n")}
	const want = `{"name":"web","x":[1.50,"/"],"albatross_instance":"i"}`
	if _, err := targetsOf(t, "mollymawk", "POST /api/unikernel/destroy", &call); err != nil ||
		string(call.Body) != want {
		t.Errorf("got body %s and error %v, want %s", call.Body, err, want)
	}
	call = gate.Call{Query: "&x=a;b#c&%69nstance=I&unikern%65l=u.+1&&y"}
	_, err := targetsOf(t, "mollymawk", "GET /api/unikernel/console", &call)
	wantRefusal(t, "space in a name", err, "isn't a valid name")
	call = gate.Call{Query: "&x=a;b#c&%69nstance=I&unikern%65l=u.1&&y"}
	const wantQuery = "x=a%3Bb%23c&instance=i&unikernel=u.1&y="
	if _, err := targetsOf(t, "mollymawk", "GET /api/unikernel/console", &call); err != nil || call.Query != wantQuery {
		t.Errorf("got query %s and error %v, want %s", call.Query, err, wantQuery)
	}
}

func TestRestartTargets(t *testing.T) {
	t.Parallel()
	const (
		route  = "POST /api/unikernel/restart"
		names  = "instance/default unikernel/hello"
		both   = "!in the query and in the body"
		noBody = "!missing albatross_instance"
	)
	config := func(text string) string {
		return `{"arguments":"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"}`
	}
	for name, tt := range map[string]struct{ query, body, want, want2025 string }{
		"query": {inQuery, "{}", names, names},
		"body":  {"", inBody, names, names},
		"devices": {inQuery, config(`{"block_devices":["a",{"name":"x","host_device":"b"}]}`),
			names + " block/a block/b", names},
		"devices, names in the body": {"",
			`{"name":"hello","albatross_instance":"default","arguments":"{\"block_devices\":[\"a\"]}"}`,
			names + " block/a", names},
		"no devices":           {inQuery, config(`{"typ":"solo5"}`), names, names},
		"both":                 {inQuery, inBody, both, both},
		"body names unikernel": {inQuery, `{"name":"other"}`, both, noBody},
		"half and half":        {"instance=default", `{"name":"hello"}`, "!missing unikernel", noBody},
		"other case in the body": {inQuery, `{"NAME":"other"}`, "!write name",
			`!write name`},
		"other case in the query": {"Instance=x", inBody, "!write instance", "!write instance"},
		"arguments as object": {inQuery, `{"arguments":{}}`, "!arguments must be a string",
			names},
		"arguments null": {inQuery, `{"arguments":null}`, "!arguments must be a string",
			names},
		"duplicate": {inQuery, config(`{"block_devices":["a"],"block_devices":["b"]}`), "!duplicate",
			names},
		"comment": {inQuery, config(`{"block_devices":["a"]/**/}`), "!comment", names},
		"more":    {inQuery, config(`{"block_devices":["a"]}{}`), "!followed by more", names},
		"empty":   {inQuery, config(``), "!must be a JSON object", names},
		"array":   {inQuery, config(`[]`), "!must be a JSON object", names},
		"other case, nested": {inQuery, config(`{"block_devices":["a"],"Block_Devices":["b"]}`), "!write block_devices",
			names},
		"other arguments": {inQuery, `{"Arguments":"{}"}`, "!write arguments", names},
	} {
		for generation, want := range map[string]string{"mollymawk": tt.want, "mollymawk-2025": tt.want2025} {
			got, err := targetsOf(t, generation, route, &gate.Call{Query: tt.query, Body: []byte(tt.body)})
			if refusal, ok := strings.CutPrefix(want, "!"); ok {
				wantRefusal(t, generation+" "+name, err, refusal)
			} else if err != nil || got != want {
				t.Errorf("%s %s: got %q and error %v, want %q", generation, name, got, err, want)
			}
		}
	}
}

// deviceLists maps the value of block_devices to the volumes, or to "!" and a refusal.
var deviceLists = map[string]string{
	`[]`:                                   "",
	`["data"]`:                             " block/data",
	`["data","data-2."]`:                   " block/data block/data-2.",
	`["d\u0061ta"]`:                        " block/data",
	`[{"name":"data"}]`:                    " block/data",
	`[{"name":"data","host_device":null}]`: " block/data",
	`[{"name":"Disk","host_device":"v"}]`:  " block/v",
	`[{"host_device":"v","name":"0","sector_size":512},"w"]`: " block/v block/w",
	`null`:                               "!must be an array",
	`"data"`:                             "!must be an array",
	`{"name":"data"}`:                    "!must be an array",
	`[1]`:                                "!a name or an object",
	`[null]`:                             "!a name or an object",
	`[["data"]]`:                         "!a name or an object",
	`[{}]`:                               "!missing name",
	`[{"host_device":"v"}]`:              "!missing name",
	`[{"name":1,"host_device":"v"}]`:     "!name must be a string",
	`[{"name":"a","host_device":1}]`:     "!host_device must be a string",
	`[{"name":"a","host_device":["v"]}]`: "!host_device must be a string",
	`[""]`:                               "!isn't a valid name",
	`["a/b"]`:                            "!isn't a valid name",
	`["data\u0000"]`:                     "!isn't a valid name",
	`[{"name":"a","host_device":""}]`:    "!isn't a valid name",
	`[{"name":"a","host_device":"/dev/zvol/x"}]`:              "!isn't a valid name",
	`[{"name":"a=/b","host_device":"v"}]`:                     "!isn't a valid name",
	`["DATA"]`:                                                "!lower case",
	`[{"name":"a","host_device":"V"}]`:                        "!lower case",
	`[{"name":"a","Name":"b"}]`:                               "!write name",
	`[{"name":"a","HOST_DEVICE":"v"}]`:                        "!write host_device",
	`[{"name":"a","name":"b"}]`:                               "!duplicate",
	`[{"name":"a","host_device":"b","host_d\u0065vice":"c"}]`: "!duplicate",
}

func TestDevices(t *testing.T) {
	t.Parallel()
	for devices, want := range deviceLists {
		config := `{"typ":"solo5","cpuids":[0],"network_interfaces":["service"],"linux_boot_partition":"p",` +
			`"block_devices":` + devices + "}"
		for generation := range generations {
			got, err := uploadTargets(t, generation, "POST /api/unikernel/create",
				formOf(createWith("unikernel_config", config)...), false)
			checkDevices(t, generation+": create: "+devices, got, err, "instance/i unikernel/u", want)
			call := gate.Call{Body: []byte(`{"albatross_instance":"i","job":"j","to_be_updated_unikernel":"x",` +
				`"currently_running_unikernel":"y","unikernel_name":"u","unikernel_arguments":` + config + "}")}
			got, err = targetsOf(t, generation, "POST /api/unikernel/update", &call)
			checkDevices(t, generation+": update: "+devices, got, err, "instance/i unikernel/u", want)
		}
		call := gate.Call{Query: inQuery, Body: object{quotedMember("arguments", config)}.append(nil)}
		got, err := targetsOf(t, "mollymawk", "POST /api/unikernel/restart", &call)
		checkDevices(t, "restart: "+devices, got, err, "instance/default unikernel/hello", want)
	}
}

func checkDevices(t *testing.T, what, got string, err error, names, want string) {
	t.Helper()
	if refusal, ok := strings.CutPrefix(want, "!"); ok {
		wantRefusal(t, what, err, refusal)
	} else if err != nil || got != names+want {
		t.Errorf("%s: got %q and error %v, want %q", what, got, err, names+want)
	}
}

func TestUpdateArguments(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{"null": "", `{}`: "", `{"block_devices":["a"]}`: " block/a",
		`"{}"`: "!must be a JSON object", `[]`: "!must be a JSON object", "1": "!must be a JSON object"} {
		for generation := range generations {
			call := gate.Call{Body: []byte(`{"albatross_instance":"i","unikernel_name":"u","unikernel_arguments":` +
				arguments + "}")}
			got, err := targetsOf(t, generation, "POST /api/unikernel/update", &call)
			checkDevices(t, generation+": "+arguments, got, err, "instance/i unikernel/u", want)
		}
	}
}

// uploadTargets returns an upload's targets. It returns an error only if the upload itself is
// refused, or if it isn't clear what the upload acts on.
func uploadTargets(t testing.TB, generation, name, body string, spool bool) (string, error) {
	t.Helper()
	g, route := gateAndRoute(t, generation, name)
	u := gate.Upload{ContentType: []string{formType}, Body: iotest.OneByteReader(strings.NewReader(body))}
	if spool {
		u.Spool = strings.NewReader(body)
	}
	if err := g.AdaptUpload(route, &u); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, u.Body); err != nil {
		return "", err
	}
	if u.TargetsErr != nil && u.Targets != nil {
		t.Errorf("got targets %v and error %v", u.Targets, u.TargetsErr)
	}
	return list(t, u.Targets), u.TargetsErr
}

func TestUploadTargets(t *testing.T) {
	t.Parallel()
	const json = `json_data={"block_name":"Data","block_size":1,"block_compressed":false}`
	blocks := []string{"POST /api/block/create", "POST /api/block/upload", "POST /api/volume/create",
		"POST /api/volume/upload"}
	create := []string{"POST /api/unikernel/create"}
	for name, tt := range map[string]struct {
		routes []string
		fields []string
		want   string
	}{
		"create":             {create, wholeCreate, "instance/i unikernel/u"},
		"create, upper case": {create, createWith("unikernel_name", "WEB"), "instance/i unikernel/web"},
		"builder": {create, []string{"albatross_instance=i", "unikernel_name=u", "unikernel_config=" + config,
			"deploy_mode=builder", "builder_job=other", "unikernel_force_create=true", "binary="},
			"instance/i unikernel/u"},
		"create, no label": {create, createWith("unikernel_name", "a_b"), "!isn't a valid name"},
		"create, line end": {create, createWith("albatross_instance", "i\n"), "!isn't a valid name"},
		"create, other case": {create, append([]string{"Albatross_Instance=j"}, wholeCreate...),
			"!write albatross_instance"},
		"create, no object": {create, createWith("unikernel_config", "[]"), "!must be a JSON object"},
		"create, twice": {create, append([]string{"unikernel_name=v"}, wholeCreate...),
			`!"unikernel_name" twice`},
		"create, missing": {create, createWithout("unikernel_name"), "!unikernel_name"},

		"block":              {blocks, []string{"albatross_instance=i", json, "block_data=x"}, "instance/i block/data"},
		"block, other order": {blocks, []string{json, "albatross_instance=I", "block_data=x"}, "instance/i block/data"},
		"block, missing": {blocks, []string{"albatross_instance=i", "json_data={}", "block_data=x"},
			"!missing block_name"},
		"block, number": {blocks, []string{"albatross_instance=i", `json_data={"block_name":1}`, "block_data=x"},
			"!block_name must be a string"},
		"block, duplicate": {blocks, []string{"albatross_instance=i", `json_data={"block_name":"a","block_name":"b"}`,
			"block_data=x"}, "!duplicate"},
		"block, other case": {blocks, []string{"albatross_instance=i", `json_data={"block_name":"a","Block_Name":"b"}`,
			"block_data=x"}, "!write block_name"},
		"block, path": {blocks, []string{"albatross_instance=i", `json_data={"block_name":"../x"}`, "block_data=x"},
			"!isn't a valid name"},
		"block, text": {blocks, []string{"albatross_instance=i", `json_data="block_name"`, "block_data=x"},
			"!must be a JSON object"},
		"block, field case": {blocks, []string{"albatross_instance=i", json, "JSON_data={}", "block_data=x"},
			"!write json_data"},
	} {
		for _, route := range tt.routes {
			for generation := range generations {
				for _, spool := range []bool{false, true} {
					got, err := uploadTargets(t, generation, route, formOf(tt.fields...), spool)
					checkDevices(t, generation+" "+route+": "+name, got, err, "", tt.want)
				}
			}
		}
	}
	// The gate sends fields that follow the file before it.
	for generation := range generations {
		got, err := uploadTargets(t, generation, blocks[0], formOf("block_data=x", "albatross_instance=i", json), true)
		checkDevices(t, generation+": file first", got, err, "", "instance/i block/data")
	}
}

// TestRoutesWithTargets lists the routes that bound keys can use.
func TestRoutesWithTargets(t *testing.T) {
	t.Parallel()
	for name := range generations {
		table, _ := gate.TableByName(name)
		for i := range table.Routes {
			route := &table.Routes[i]
			monitoring, listing := strings.Contains(route.Path, "/monitoring/"), route.Path == "/api/unikernels"
			if want := !route.Upload && !monitoring && !listing; (route.Targets != nil) != want {
				t.Errorf("%s: %s: has targets %v, want %v", name, route.Name(), !want, want)
			}
			if (route.Listing != nil) != listing {
				t.Errorf("%s: %s: has a listing %v, want %v", name, route.Name(), !listing, listing)
			}
		}
	}
}
