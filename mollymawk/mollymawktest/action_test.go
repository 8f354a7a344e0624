package mollymawktest

import (
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestActions(t *testing.T) {
	t.Parallel()
	const (
		names     = `"albatross_instance":"Default","name":"Web"`
		devices   = `{"typ":"solo5","cpuids":[0],"block_devices":["a",{"name":"x","host_device":"b"},{"name":"c"}]}`
		escaped   = `{\"typ\":\"solo5\",\"cpuids\":[0],\"block_devices\":[\"a\"]}`
		query     = "?instance=Default&unikernel=Web&instance=other"
		rollback  = `{"albatross_instance":"default","unikernel_name":"Web"}`
		blockName = `{"albatross_instance":"default","block_name":"V1","compression_level":0}`
	)
	web := Action{Instance: "default", Unikernel: "web"}
	v1 := Action{Instance: "default", Block: "v1"}
	attaching := func(names ...string) Action {
		return Action{Instance: "default", Unikernel: "web", Attached: names}
	}
	post := func(path, body string) string { return "POST " + path + " " + body }
	for generation, requests := range map[Generation]map[string]Action{
		Current: {
			post("/api/unikernel/destroy", "{"+names+`,"name":"second"}`):               web,
			post("/api/unikernel/restart"+query, "{}"):                                  web,
			post("/api/unikernel/restart"+query, `{"arguments":"`+escaped+`"}`):         attaching("a"),
			post("/api/unikernel/update", update(`"unikernel_name":"Web",`)):            web,
			post("/api/unikernel/rollback", rollback):                                   web,
			"GET /api/unikernel/console" + query + " ":                                  web,
			post("/api/block/delete", blockName):                                        v1,
			post("/api/block/download", blockName):                                      v1,
			post("/api/unikernel/destroy", `{"albatross_instance":"_","name":"web"}`):   {},
			post("/api/unikernel/destroy", `{"albatross_instance":"new","name":"web"}`): {},
			post("/api/unikernel/restart"+query, `{"arguments":"{}"}`):                  {},
			post("/api/unikernel/restart?instance=default", "{}"):                       {},
			"GET /api/unikernels ":                                                      {},
			"FORM /api/unikernel/scaling/update" + query:                                web,
			"FORM /api/block/create":                                                    v1,
			"FORM /api/block/upload":                                                    v1,
			"FORM /api/unikernel/create":                                                attaching("a", "b", "c"),
		},
		Generation2025: {
			post("/api/unikernel/restart"+query, "{"+names+`,"arguments":"`+escaped+`"}`): web,
			post("/api/volume/delete", blockName):                                         v1,
			"FORM /api/volume/create":                                                     v1,
			"FORM /api/unikernel/create":                                                  attaching("a", "b", "c"),
		},
	} {
		for request, want := range requests {
			checkAction(t, generation, request, want, map[string][]part{
				"/api/unikernel/create": create([]part{{"unikernel_config", devices}, {"unikernel_name", "Web"}}),
				"":                      blockParts(jsonData("V1", 1, false), "x"),
			})
		}
	}
}

// checkAction sends a request, written as method, target and body, and checks what the server
// reports. The method FORM means POST with one of the forms.
func checkAction(t *testing.T, generation Generation, request string, want Action, forms map[string][]part) {
	t.Helper()
	var mu sync.Mutex
	var got []Action
	s, token := start(t, Options{Generation: generation, Acted: func(a Action) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, a)
	}})
	s.AddUnikernel("alice", "default", "web")
	s.Emit("alice", "default", "web", "a line")
	method, rest, _ := strings.Cut(request, " ")
	target, body, _ := strings.Cut(rest, " ")
	if method == "FORM" {
		parts, ok := forms[target]
		if !ok {
			parts = forms[""]
		}
		postForm(t, s, token, target, parts...)
	} else {
		c := dial(t, s)
		c.send(message(method, target, body, bearer(token)))
		_, _ = c.r.Peek(1) // the server may end the connection without a response
	}
	mu.Lock()
	defer mu.Unlock()
	var wanted []Action
	if want.Instance != "" {
		want.Path, _ = splitTarget(target)
		wanted = []Action{want}
	}
	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("generation %d: %s: got %+v, want %+v", generation, request, got, wanted)
	}
}
