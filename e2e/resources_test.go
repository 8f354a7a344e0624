package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// boundCall is a call that acts on the unikernel or the block device $N on the instance $I.
type boundCall struct {
	typ, path string
	args      []string
	// current is set if backends of 2025 don't have the call.
	current bool
}

var boundCalls = map[string]boundCall{
	"create": {"unikernel", "/api/unikernel/create", formArgs("unikernel_name=$N",
		`unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`, "unikernel_force_create=true",
		"deploy_mode=manual", "binary=@$IMAGE"), false},
	"destroy": {"unikernel", "/api/unikernel/destroy",
		[]string{"-d", `{"name":"$N","albatross_instance":"$I"}`}, false},
	"restart by query": {"unikernel", "/api/unikernel/restart?instance=$I&unikernel=$N", []string{"-d", "{}"}, false},
	"restart by body": {"unikernel", "/api/unikernel/restart",
		[]string{"-d", `{"name":"$N","albatross_instance":"$I"}`}, false},
	"update": {"unikernel", "/api/unikernel/update", []string{"-d", `{"albatross_instance":"$I","job":"nothing",` +
		`"to_be_updated_unikernel":"a","currently_running_unikernel":"b","unikernel_name":"$N",` +
		`"http_liveliness_address":null,"dns_liveliness":null,"unikernel_arguments":null}`}, false},
	"rollback": {"unikernel", "/api/unikernel/rollback",
		[]string{"-d", `{"unikernel_name":"$N","albatross_instance":"$I"}`}, false},
	"scale": {"unikernel", "/api/unikernel/scaling/update?instance=$I&unikernel=$N",
		[]string{"-F", "should_scale=on", "-F", "max_instances=2"}, true},
	"block create": {"block", "/api/block/create",
		formArgs(`json_data={"block_name":"$N","block_size":1,"block_compressed":false}`, "block_data=@$IMAGE"), false},
	"volume upload": {"block", "/api/volume/upload",
		formArgs(`json_data={"block_name":"$N","block_size":1,"block_compressed":false}`, "block_data=@$IMAGE"), false},
	"block download": {"block", "/api/block/download",
		[]string{"-d", `{"albatross_instance":"$I","block_name":"$N","compression_level":0}`}, false},
	"volume delete": {"block", "/api/volume/delete",
		[]string{"-d", `{"block_name":"$N","albatross_instance":"$I"}`}, false},
}

// formArgs returns curl's arguments for a form that names the instance and has these fields.
func formArgs(fields ...string) []string {
	args := []string{"-F", "albatross_instance=$I", "-F", "molly_csrf="}
	for _, field := range fields {
		args = append(args, "-F", field)
	}
	return args
}

// boundSite is a site whose backend reports what it acts on.
type boundSite struct {
	*site
	image string
	mu    sync.Mutex
	acted []mollymawktest.Action
}

func startBoundSite(t *testing.T, generation mollymawktest.Generation) *boundSite {
	t.Helper()
	s := new(boundSite)
	s.site = startSite(t, plainSite, mollymawktest.Options{Generation: generation,
		Instances: []string{"default", "other"},
		Policy:    &mollymawktest.Policy{Unikernels: 1000, CPUs: []int{0}, Memory: 1 << 20, Block: 1 << 20},
		Acted: func(a mollymawktest.Action) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.acted = append(s.acted, a)
		}})
	s.image = s.write("web.hvt", unikernelImage)
	return s
}

// send makes a call and returns the refusal's code and resource, and what the backend acted on.
func (s *boundSite) send(t *testing.T, token string, call boundCall, instance, name string) (code, resource string,
	acted []mollymawktest.Action) {
	t.Helper()
	fill := strings.NewReplacer("$IMAGE", s.image, "$I", instance, "$N", name)
	args := bearer(token)
	for _, arg := range call.args {
		args = append(args, fill.Replace(arg))
	}
	s.mu.Lock()
	s.acted = nil
	s.mu.Unlock()
	_, header, body := curl(t, append(args, s.url(fill.Replace(call.path)))...)
	if strings.HasPrefix(header.Get("Content-Type"), "application/problem+json") && strings.HasPrefix(body, "{") {
		var problem struct{ Code, Resource string }
		if err := json.Unmarshal([]byte(body), &problem); err != nil {
			t.Fatalf("got %s: %v", body, err)
		}
		code, resource = problem.Code, problem.Resource
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return code, resource, s.acted
}

// TestResources makes every call with tokens that are bound to the unikernel, the block device or
// the instance that it acts on, and with tokens that are bound to others.
func TestResources(t *testing.T) {
	t.Parallel()
	for name, generation := range generations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startBoundSite(t, generation)
			bound := func(resources ...string) string {
				flags := []string{"--preset", "full"}
				for _, resource := range resources {
					flags = append(flags, "--resource", resource)
				}
				return s.token(flags...)
			}
			tokens := map[string]string{
				"":                      bound(),
				"own":                   bound("unikernel/web-*", "volume/Web-*"),
				"unikernel":             bound("unikernel/web-*"),
				"instance":              bound("instance/default"),
				"own, instance":         bound("unikernel/web-*", "block/web-*", "instance/default"),
				"own, another instance": bound("unikernel/web-*", "block/web-*", "instance/other"),
				"others":                bound("unikernel/api", "block/api"),
			}
			n := 0
			for name, call := range boundCalls {
				if call.current && generation != mollymawktest.Current {
					continue
				}
				for binding, token := range tokens {
					for _, spelling := range []func(string) string{strings.ToLower, strings.ToUpper} {
						n++
						target := fmt.Sprint("web-", n)
						if name != "create" && name != "block create" {
							s.backend.AddUnikernel("alice", "default", target)
							s.backend.AddBlock("alice", "default", target, 1, []byte("data"))
						}
						want := ""
						switch {
						case binding == "others", binding == "unikernel" && call.typ == "block":
							want = call.typ + "/" + target
						case binding == "own, another instance":
							want = "instance/default"
						}
						code, resource, acted := s.send(t, token, call, "Default", spelling(target))
						allowed := want == "" && code != "resource_not_allowed" && code != "ambiguous_target" &&
							code != "invalid_request_body" && len(acted) > 0
						refused := want != "" && code == "resource_not_allowed" && resource == want && len(acted) == 0
						if !allowed && !refused {
							t.Errorf("%s of %s, bound to %q: got code %q, resource %q, the backend acted on %v", name,
								target, binding, code, resource, acted)
						}
						for _, a := range acted {
							acted := strings.ToLower(a.Instance + "/" + a.Unikernel + a.Block)
							if acted != "default/"+target {
								t.Errorf("%s of %s, bound to %q: the backend acted on %+v", name, target, binding, a)
							}
						}
					}
				}
			}
			s.checkLogs(tokens["own"], tokens["instance"])
		})
	}
}

// TestAmbiguousTargets sends requests that name two unikernels or block devices, or in two ways.
// The gate refuses them if the token is bound, even if it may act on one of the two.
func TestAmbiguousTargets(t *testing.T) {
	t.Parallel()
	for name, generation := range generations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startBoundSite(t, generation)
			token := s.token("--preset", "full", "--resource", "unikernel/web", "--resource", "block/web")
			destroy := func(body string) boundCall {
				return boundCall{path: "/api/unikernel/destroy", args: []string{"-d", body}}
			}
			create, upload := boundCalls["create"].args, boundCalls["volume upload"].args
			for _, call := range []boundCall{
				destroy(`{"name":"web","name":"api","albatross_instance":"$I"}`),
				destroy(`{"name":"web","n\u0061me":"api","albatross_instance":"$I"}`),
				destroy(`{"name":"web",/*"*/"albatross_instance":"$I"}`),
				destroy(`{"name":"web","Name":"api","albatross_instance":"$I"}`),
				destroy(`{"name":["web"],"albatross_instance":"$I"}`),
				destroy(`{"albatross_instance":"$I"}`),
				destroy(``),
				{path: "/api/unikernel/restart?instance=$I&unikernel=web&unikernel=api", args: []string{"-d", `{}`}},
				{path: "/api/unikernel/restart?instance=$I&unikernel=web&%75nikernel=api", args: []string{"-d", `{}`}},
				{path: "/api/unikernel/restart?instance=$I&unikernel=web",
					args: []string{"-d", `{"name":"api","albatross_instance":"$I"}`}},
				{path: "/api/unikernel/console?instance=$I&unikernel=web&unikernel=api"},
				{path: "/api/unikernel/console?instance=$I&unikernel=web&UNIKERNEL=api"},
				{path: "/api/volume/download", args: []string{"-d",
					`{"albatross_instance":"$I","block_name":"web","compression_level":NaN}`}},
				{path: "/api/unikernel/create", args: slices.Concat([]string{"-F", "unikernel_name=api"}, create)},
				{path: "/api/unikernel/create", args: slices.Concat(create, []string{"-F", "unikernel_name=api"})},
				{path: "/api/block/upload", args: slices.Concat(upload[:4], []string{"-F",
					`json_data={"block_name":"api","block_name":"web","block_size":1,"block_compressed":false}`},
					upload[6:])},
			} {
				code, _, acted := s.send(t, token, call, "default", "web")
				if code != "ambiguous_target" || len(acted) > 0 {
					t.Errorf("%s %q: got code %q, the backend acted on %v", call.path, call.args, code, acted)
				}
			}
		})
	}
}

// TestAttachedBlocks checks that a token can't attach block devices to which it isn't bound.
func TestAttachedBlocks(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t, mollymawktest.Current)
	s.backend.AddBlock("alice", "default", "data", 1, nil)
	s.backend.AddBlock("alice", "default", "secret", 1, nil)
	token := s.token("--preset", "full", "--resource", "unikernel/web", "--resource", "block/data")
	const config = `{"typ":"solo5","cpuids":[0],"memory":32,"block_devices":[$D]}`
	create := slices.Clone(boundCalls["create"].args)
	create[7] = "unikernel_config=" + config
	restart, err := json.Marshal(map[string]string{"arguments": config})
	if err != nil {
		t.Fatal(err)
	}
	const arguments = `"unikernel_arguments":`
	update := strings.Replace(boundCalls["update"].args[1], arguments+"null", arguments+config, 1)
	for devices, want := range map[string]string{
		`"data"`: "", `"secret"`: "block/secret", `"data","secret"`: "block/secret",
		`{"name":"data"}`: "", `{"name":"disk","host_device":"secret"}`: "block/secret",
		`{"name":"data","host_device":"secret"}`: "block/secret", `{"name":"disk","host_device":"data"}`: "",
		`{"name":"data","host_device":null}`: "",
	} {
		quoted, err := json.Marshal(devices)
		if err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]boundCall{
			"create": {path: "/api/unikernel/create", args: create},
			"restart": {path: "/api/unikernel/restart?instance=$I&unikernel=$N", args: []string{"-d",
				strings.Replace(string(restart), "$D", string(quoted[1:len(quoted)-1]), 1)}},
			"update": {path: "/api/unikernel/update", args: []string{"-d", update}},
		} {
			call.args = slices.Clone(call.args)
			for i := range call.args {
				call.args[i] = strings.Replace(call.args[i], "$D", devices, 1)
			}
			code, resource, acted := s.send(t, token, call, "default", "web")
			if resource != want || (want != "") != (code == "resource_not_allowed") || want != "" && len(acted) > 0 ||
				code == "ambiguous_target" {
				t.Errorf("%s with %s: got code %q, resource %q, the backend acted on %v", name, devices, code, resource,
					acted)
			}
		}
	}
}

// TestBoundList checks that a bound token sees only its unikernels, and that calls that can't be
// limited are refused.
func TestBoundList(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t, mollymawktest.Current)
	for _, name := range []string{"web-1", "api", "web-2"} {
		s.backend.AddUnikernel("alice", "default", name)
	}
	s.backend.AddUnikernel("alice", "other", "web-3")
	all := s.token("--preset", "full")
	flags := []string{"--scope", "*", "--scope", "monitoring:*"}
	web := s.token(append(flags, "--resource", "unikernel/WEB-*", "--resource", "block/x")...)
	for token, want := range map[string]string{all: "api web-1 web-2 web-3", web: "web-1 web-2 web-3",
		s.token(append(flags, "--resource", "block/x")...): ""} {
		names := s.names(t, token)
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// The list is complete JSON even if the client asks for a part of it, or for compression.
	status, _, body := curl(t, append(bearer(web), "-r", "0-20", "--compressed", s.url("/api/unikernels"))...)
	if status != http.StatusOK || !json.Valid([]byte(body)) || strings.Contains(body, `"api"`) {
		t.Errorf("got status %d, body %s", status, body)
	}
	instance := s.token(append(flags, "--resource", "instance/default")...)
	s.expectProblem(t, instance, "/api/unikernels", http.StatusForbidden, "resource_not_allowed")
	for _, path := range []string{"/api/unikernel/monitoring/status?unikernel=web-1",
		"/api/unikernel/console?unikernel=api&instance=default"} {
		_, members := s.expectProblem(t, web, path, http.StatusForbidden, "resource_not_allowed")
		var want any
		if strings.Contains(path, "console") {
			want = "unikernel/api"
		}
		if members["resource"] != want {
			t.Errorf("%s: got resource %v, want %v", path, members["resource"], want)
		}
	}
	s.expectProblem(t, web, "/api/unikernel/monitoring/update", http.StatusForbidden, "resource_not_allowed",
		"-F", "unikernel_name=web-1", "-F", "command=L*:debug")

	// A change is in force when the command returns.
	if _, stderr, code := s.run("api-token", "edit", tokenID(web), "--resource", "unikernel/api"); code != 0 {
		t.Fatal(stderr)
	}
	if got := s.names(t, web); !slices.Equal(got, []string{"api"}) {
		t.Errorf("after the change: got %v", got)
	}
	if _, stderr, code := s.run("api-token", "edit", tokenID(web), "--resource", "none"); code != 0 {
		t.Fatal(stderr)
	}
	if got := s.names(t, web); len(got) != 4 {
		t.Errorf("unbound: got %v", got)
	}
}

// TestCustomTargets checks targets in route lines and max_resources, with a real Caddyfile.
func TestCustomTargets(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(globals, "upstream_token {env.UPSTREAM}\n",
		"upstream_token {env.UPSTREAM}\n\t\t\tmax_resources project/web-*\n", 1)+`
http://127.0.0.1:{$HTTP} {
	bearer_auth {
		route POST /projects/*/volumes volume:create {
			target project path 2
			target volume json volume.name
		}
		route PUT /projects/*/files file:upload {
			target project path 2
			upload
		}
		route GET /status status:read
	}
	respond "{http.request.uri} {http.request.body}"
}
`, mollymawktest.Options{})
	const limited = "--resource: the tokens of account default must be bound to resources within project/web-*"
	_, stderr, code := s.run("api-token", "create", "--name", "a", "--expires-in", "1d", "--scope", "*")
	if code == 0 || !strings.Contains(stderr, limited) {
		t.Errorf("without resources: %s", stderr)
	}
	token := s.token("--scope", "*", "--resource", "project/web-1")
	for _, tt := range []struct {
		path   string
		args   []string
		status int
		code   string
	}{
		{"/projects/web-1/files", []string{"-T", s.write("x", "data")}, 200, ""},
		{"/projects/web-2/files", []string{"-T", s.write("x", "data")}, 403, "resource_not_allowed"},
		{"/projects/web-1/volumes", []string{"--json", `{"volume":{"name":"a"}}`}, 403, "resource_not_allowed"},
		{"/projects/web-1/volumes", []string{"--json", `{"volume":{"name":"a","name":"b"}}`}, 400, "ambiguous_target"},
		{"/projects/web-1/volumes", []string{"-d", `{"volume":{"name":"a"}}`}, 400, "ambiguous_target"},
		{"/status", nil, 403, "resource_not_allowed"},
	} {
		status, _, body := curl(t, append(append(bearer(token), tt.args...), s.url(tt.path))...)
		if status != tt.status || tt.code != "" && !strings.Contains(body, `"code":"`+tt.code+`"`) {
			t.Errorf("%s %q: got status %d, body %s", tt.path, tt.args, status, body)
		}
	}
}

// TestKnownResources checks that the admin API knows the names of the account's unikernels once a
// request has been forwarded, and that it says why it doesn't.
func TestKnownResources(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t, mollymawktest.Current)
	s.backend.AddUnikernel("alice", "default", "web")
	s.backend.AddUnikernel("alice", "other", "api")
	s.backend.AddUnikernel("bob", "default", "hidden")
	known := func() string { return s.getAdmin("/api_tokens/v1/resources") }
	const early = `{"data":[],"incomplete":"the gate hasn't forwarded any request since the configuration was loaded"}`
	if got := known(); got != early {
		t.Errorf("at first: got %s", got)
	}
	token := s.token("--preset", "read")
	s.expect(token, http.StatusOK)
	const all = `{"data":["unikernel/api","unikernel/web"],"incomplete":null}`
	for range 2 {
		if got := known(); got != all {
			t.Errorf("got %s, want %s", got, all)
		}
	}
	if err := s.reload(strings.Replace(plainSite, "debug", "debug\n\tgrace_period 1s", 1)); err != nil {
		t.Fatal(err)
	}
	if got := known(); got != early {
		t.Errorf("after a reload: got %s", got)
	}
	s.expect(token, http.StatusOK)
	s.backend.RevokeToken(s.upstream)
	got := known()
	if !strings.Contains(got, "the backend responded with status 400") || strings.Contains(got, s.upstream) {
		t.Errorf("with a refused credential: got %s", got)
	}
	s.checkLogs(token)
}
