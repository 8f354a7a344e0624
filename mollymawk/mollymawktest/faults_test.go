package mollymawktest

import (
	"testing"
	"time"
)

func TestSilent(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.SetFaults(Faults{Silent: []string{"/api/unikernel/destroy"}})
	c := dial(t, s)
	c.send(message("POST", "/api/unikernel/destroy", "{}", bearer(token)) + message("GET", "/style.css", ""))
	c.wantSilence()
	if r := waitForRequests(t, s, 1); len(r) != 1 || string(r[0].Body) != "{}" {
		t.Errorf("requests %+v", r)
	}
	if a := fetch(t, s, "/api/unikernels", bearer(token)); a.status != 200 {
		t.Errorf("another path: %d", a.status)
	}
	s.SetFaults(Faults{Silent: []string{"*"}})
	c = dial(t, s)
	c.send(message("GET", "/style.css", ""))
	c.wantSilence()
}

func TestCut(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Clock: newClock().Now})
	token := s.AddToken("alice", "gate", time.Hour)
	s.AddUnikernel("alice", "default", "hello")
	s.AddBlock("alice", "default", "v1", 1, nil)
	for range 3 {
		s.Emit("alice", "default", "hello", "one")
	}
	s.SetFaults(Faults{Cut: map[string]int{"/api/unikernel/console": 100, "/api/block/download": 70000, "*": 0}})
	all := events("one", "one", "one")
	c := dial(t, s)
	c.send(message("GET", consolePath, "", bearer(token)))
	c.wantNext(consoleHead + all[:100])
	c.wantClosed()

	a := postJSON(t, s, token, "/api/block/download", `{"albatross_instance":"default","block_name":"v1","compression_level":0}`)
	if a.status != 200 || len(a.body) != 70000 {
		t.Errorf("download: %d, %d bytes", a.status, len(a.body))
	}
	c = dial(t, s)
	c.send(message("GET", "/style.css", ""))
	if a, err := c.tryRead(patience); err == nil || a.status != 200 || a.header("content-length") == "0" {
		t.Errorf("file: %d %s %v", a.status, a.head, err)
	}
	if s.Crashes() != 0 {
		t.Error("crashed")
	}
}
