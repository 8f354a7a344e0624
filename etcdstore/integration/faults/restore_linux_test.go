package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestClusterRestore restores the members from an older snapshot, and then empties them. In
// both cases, the shared store has lost changes that the gates know. A gate must not follow
// it: revoked and deleted tokens must not work again, also not after a restart of the gate,
// and changes must fail.
func TestClusterRestore(t *testing.T) {
	for name, replace := range map[string]func(c *cluster, snapshot string) error{
		"older": func(c *cluster, snapshot string) error { return c.restore(c.t.Context(), snapshot) },
		"empty": func(c *cluster, _ string) error {
			for _, m := range c.members {
				m.kill()
				if err := os.RemoveAll(m.data); err != nil {
					return err
				}
			}
			return c.recover(c.t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) { testReplaced(t, replace) })
	}
}

func testReplaced(t *testing.T, replace func(c *cluster, snapshot string) error) {
	c := startCluster(t, time.Minute) // so that no gate becomes stale
	subjects := &subjects{c: c}
	var clients []*client
	for _, g := range c.gates {
		clients = append(clients, c.newClient(g))
	}
	tokens := make(map[string]*subject)
	for _, name := range []string{"valid", "revoked", "deleted"} {
		if tokens[name] = subjects.create(t.Context(), 0, clients, false); tokens[name] == nil {
			t.Fatal("a token couldn't be created")
		}
	}
	status := func(cl *client, name string) int {
		s := tokens[name]
		return cl.use(t.Context(), s.id, s.newest, s.secrets[s.newest]).Status
	}
	for _, cl := range clients {
		c.eventually(time.Minute, cl.gate.name+" knows the tokens", func() bool {
			return status(cl, "valid") == 200 && status(cl, "revoked") == 200 && status(cl, "deleted") == 200
		})
	}
	snapshot := filepath.Join(c.dir, "snapshot")
	if err := c.snapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	cl := clients[0]
	if a := cl.do(t.Context(), http.MethodPost, "tokens/"+tokens["revoked"].id+"/revoke", nil, 0); a.Status != 200 {
		t.Fatal(a)
	}
	if a := cl.do(t.Context(), http.MethodDelete, "tokens/"+tokens["deleted"].id, nil, 0); a.Status != 204 {
		t.Fatal(a)
	}
	for _, cl := range clients {
		c.eventually(time.Minute, cl.gate.name+" knows the changes", func() bool {
			return status(cl, "revoked") == 401 && status(cl, "deleted") == 401
		})
	}
	time.Sleep(2 * time.Second) // the replicas have the changes
	if err := replace(c, snapshot); err != nil {
		t.Fatal(err)
	}
	holds := func(when string, patience time.Duration) {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			for _, cl := range clients {
				for name, want := range map[string]int{"valid": 200, "revoked": 401, "deleted": 401} {
					if got := status(cl, name); got != want {
						t.Errorf("%s: %s responds to a %s token with %d, want %d", when, cl.gate.name, name, got, want)
						return
					}
				}
			}
		}
	}
	holds("after the replacement", 5*time.Second)
	for _, cl := range clients {
		a := cl.do(t.Context(), http.MethodPatch, "tokens/"+tokens["valid"].id, map[string]any{"name": "x"}, 0)
		if a.Status != http.StatusServiceUnavailable {
			t.Errorf("a change at %s after the replacement: %s, want 503", cl.gate.name, a)
		}
	}
	for _, g := range c.gates[:2] {
		g.kill()
		if err := g.start(); err != nil {
			t.Fatal(err)
		}
		if err := g.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	holds("after a restart", 5*time.Second)
}
