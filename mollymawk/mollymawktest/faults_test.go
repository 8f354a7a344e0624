package mollymawktest

import "testing"

func TestSilent(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.SetFaults(Faults{Silent: []string{"/api/unikernel/destroy"}})
	c := dial(t, s)
	c.send(message("POST", "/api/unikernel/destroy", "{}", bearer(token)) + message("GET", "/style.css", ""))
	c.wantSilence()
	if r := waitForRequests(t, s, 1); len(r) != 1 || string(r[0].Body) != "{}" {
		t.Errorf("got requests %+v, want one with body {}", r)
	}
	if a := fetch(t, s, "/api/unikernels", bearer(token)); a.status != 200 {
		t.Errorf("request to another path: got status %d, want 200", a.status)
	}
	s.SetFaults(Faults{Silent: []string{"*"}})
	c = dial(t, s)
	c.send(message("GET", "/style.css", ""))
	c.wantSilence()
}
