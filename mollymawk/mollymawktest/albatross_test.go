package mollymawktest

import (
	"testing"
)

func configured(name, config string, m Manifest) []part {
	return create([]part{{"unikernel_name", name}, {"unikernel_config", config}, {"@binary", string(Image(m, nil))}})
}

// TestOrderOfRefusals checks that the server detects errors in the same order as albatross.
func TestOrderOfRefusals(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.SetPolicy("alice", "default", &Policy{Unikernels: 2, CPUs: []int{0, 2}, Memory: 512, Block: 10,
		Bridges: []string{"service"}})
	s.AddBlock("alice", "default", "used", 1, nil)
	s.AddUnikernel("alice", "default", "hello", "used")
	const failure = "Albatross Response Error: failure: "
	bad := `{"typ":"solo5","cpuids":[1,0,3],"memory":600,"network_interfaces":["wan","service","lan"],` +
		`"block_devices":["v9"]}`
	for _, test := range []struct {
		name  string
		parts []part
		text  string
	}{
		{"name first", configured("hello", bad, Manifest{}), "Unikernel with same name is already running"},
		{"memory", configured("u", bad, Manifest{}),
			"maximum allowed memory (512, used 32) would be exceeded (requesting 600)"},
		{"CPUs", configured("u", `{"typ":"solo5","cpuids":[1,0,3],"network_interfaces":["wan"],"block_devices":["v9"]}`,
			Manifest{}),
			"CPUids 1, 3 are not allowed by policy"},
		{"bridges",
			configured("u", `{"typ":"solo5","cpuids":[0],"network_interfaces":["wan","service",`+
				`{"name":"service","host_device":"lan"}],"block_devices":["v9"]}`, Manifest{}),
			"bridges wan, lan not allowed by policy"},
		{"block missing", configured("u", `{"typ":"solo5","cpuids":[0],"block_devices":["v9"]}`, Manifest{}),
			"block device alice:v9 not found"},
		{"block in use",
			configured("u", `{"typ":"solo5","cpuids":[0],"block_devices":[{"name":"data","host_device":"used"}]}`,
				Manifest{}),
			"block device alice:used already in use"},
		{"manifest, blocks before bridges", configured("u", `{"typ":"solo5","cpuids":[0]}`,
			Manifest{Networks: []string{"service"}, Blocks: []string{"data"}}),
			`specified block device(s) does not match with manifest. Devices present in manifest: ` +
				`net \\\"service\\\", block \\\"data\\\"`},
		{"manifest, bridges", configured("u", `{"typ":"solo5","cpuids":[0]}`, Manifest{Networks: []string{"service"}}),
			`specified bridge(s) does not match with the manifest. Devices present in manifest: net \\\"service\\\"`},
		{"manifest without devices", configured("u", `{"typ":"solo5","cpuids":[0],"network_interfaces":["service"]}`,
			Manifest{}),
			"specified bridge(s) does not match with the manifest. Devices present in manifest: "},
		{"not an ELF file", create([]part{{"unikernel_name", "u"}, {"@binary", "image"}}), "error during ELF parsing"},
		{"empty", create([]part{{"unikernel_name", "u"}, {"@binary", ""}}), "error during ELF parsing"},
	} {
		a := postForm(t, s, token, pathCreate, test.parts...)
		if want := envelope(500, "", `"`+failure+test.text+`"`); a.body != want {
			t.Errorf("%s: got %s\nwant %s", test.name, a.body, want)
		}
	}
	parts := configured("u", `{"typ":"solo5","cpuids":[0],"network_interfaces":["service"]}`,
		Manifest{Networks: []string{"service"}})
	wantEnvelope(t, postForm(t, s, token, pathCreate, parts...), 200, "", `"created unikernel"`)
	wantEnvelope(t, postForm(t, s, token, pathCreate, configured("u3", bad, Manifest{})...), 500, "",
		`"`+failure+`maximum amount of unikernels (2) reached"`)
}

// TestForceStopsOldFirst checks that a forced create checks the policy, stops the old
// unikernel, and only then checks the image.
func TestForceStopsOldFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config, image string
		text          string
		remains       bool
	}{
		"policy": {`{"typ":"solo5","cpuids":[99]}`, "", "CPUids 99 are not allowed by policy", true},
		"image":  {`{"typ":"solo5","cpuids":[0]}`, "not an image", "error during ELF parsing", false},
		"devices": {`{"typ":"solo5","cpuids":[0],"network_interfaces":["service"]}`, string(Image(Manifest{}, nil)),
			"specified bridge(s) does not match with the manifest. Devices present in manifest: ", false},
	} {
		s, token := start(t, Options{})
		s.AddUnikernel("alice", "default", "hello")
		a := postForm(t, s, token, pathCreate,
			create([]part{{"unikernel_force_create", "true"}, {"unikernel_config", test.config},
				{"@binary", test.image}})...)
		wantEnvelope(t, a, 500, "", `"Albatross Response Error: failure: `+test.text+`"`)
		if runs := len(s.Unikernels("alice")) == 1; runs != test.remains {
			t.Errorf("%s: hello is running: got %t, want %t", name, runs, test.remains)
		}
	}
}

// TestNoPolicy checks that a user without a policy can list unikernels but can't create
// anything.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.SetPolicy("alice", "default", nil)
	wantEnvelope(t, fetch(t, s, "/api/unikernels", bearer(token)), 200, "Unikernel Information",
		`{"data":[[]],"errors":[]}`)
	wantEnvelope(t, postForm(t, s, token, pathCreate, create(nil)...), 500, "",
		`"Albatross Response Error: failure: maximum amount of unikernels (0) reached"`)
	wantEnvelope(t, postForm(t, s, token, "/api/block/create", blockParts(jsonData("v1", 1, false), "x")...), 400, "",
		`"unexpected field. got failure: no block devices are allowed by policy"`)
	scale := postForm(t, s, token, "/api/unikernel/scaling/update?instance=default&unikernel=hello",
		part{"should_scale", "on"}, part{"max_instances", "2"})
	wantFragment(t, scale, 400, "you can spawn a maximum of 0 clones.")
}

func TestBlockRefusals(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.SetPolicy("alice", "default", &Policy{Unikernels: 1, CPUs: []int{0}, Memory: 32, Block: 2000})
	s.AddBlock("alice", "default", "v1", 1, nil)
	for _, test := range []struct {
		target string
		size   int
		name   string
		text   string
	}{
		{"create", 100000, "v2",
			"block device policy limit of 2000 MB (used 1 MB) would be exceeded by the request (100000 MB)"},
		{"create", 100000, "v1", "file already exists"},
		{"create", 0, "v2", "overflow while computing bytes"},
		{"upload", 1, "v2", "writing block data"},
	} {
		a := postForm(t, s, token, "/api/block/"+test.target, blockParts(jsonData(test.name, test.size, false), "x")...)
		wantEnvelope(t, a, 400, "", `"unexpected field. got failure: `+test.text+`"`)
	}
}

// TestBlockTooLarge checks that the server doesn't respond to an upload larger than the
// device.
func TestBlockTooLarge(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "v1", 1, []byte("old"))
	s.AddBlock("alice", "default", "v2", 1, nil) // the first upload may still be in progress
	data := randomText(1<<20 + 1)
	c := dial(t, s)
	c.send(message("POST", pathUpload, form(blockParts(jsonData("v1", 1, false), data)...), bearer(token), formType))
	c.wantSilence()
	if got, _ := s.Block("alice", "default", "v1"); string(got) == "old" {
		t.Error("the upload didn't overwrite the block")
	}
	wantEnvelope(t, postForm(t, s, token, pathUpload, blockParts(jsonData("v2", 1, false), data[1:])...), 200, "",
		`"set block device"`)
}

// TestUpdateWithoutImage checks that updating to a job without an image stops the
// unikernel, and that creating a unikernel from such a job fails.
func TestUpdateWithoutImage(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	a := postJSON(t, s, token, "/api/unikernel/update", update(`"job":"nothing",`))
	wantEnvelope(t, a, 500, "Update Error",
		`"Update failed. hello failed to update to build new with error update :an error `+occurred+
			` while fetching the binary from builds.robur.coop with error: returned not found"`)
	if n := len(s.Unikernels("alice")); n != 0 {
		t.Errorf("%d unikernels are running, want 0", n)
	}
	wantEnvelope(t,
		postForm(t, s, token, pathCreate,
			create([]part{{"deploy_mode", "builder"}, {"builder_job", "nothing"}, {"@binary", ""}})...),
		500, "", `"Albatross Response Error: failure: error during ELF parsing"`)
}

// TestRestartWithRefusedArguments checks that a restart leaves the unikernel running if the
// new arguments don't match the image, but stops it if the policy forbids them.
func TestRestartWithRefusedArguments(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	wantEnvelope(t, postForm(t, s, token, pathCreate, create(nil)...), 200, "", `"created unikernel"`)
	restart := func(config string) response {
		return postJSON(t, s, token, "/api/unikernel/restart?instance=default&unikernel=hello",
			encode(object{{"arguments", config}}))
	}
	wantEnvelope(t, restart(`{"typ":"solo5","cpuids":[0],"network_interfaces":["service"]}`), 500, "",
		`"failure: specified bridge(s) does not match with the manifest. Devices present in manifest: "`)
	if len(s.Unikernels("alice")) != 1 {
		t.Error("hello is no longer running")
	}
	wantEnvelope(t, restart(`{"typ":"solo5","cpuids":[99]}`), 500, "", `"failure: CPUids 99 are not allowed by policy"`)
	if len(s.Unikernels("alice")) != 0 {
		t.Error("hello is still running")
	}
}
