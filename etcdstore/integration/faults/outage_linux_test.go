package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// outageStaleness leaves time to restart a gate before it becomes stale.
const outageStaleness = 12 * time.Second

// TestClusterOutage kills all members. The gates must serve valid tokens until max_staleness,
// also after a restart, and refuse changes. Then they must refuse everything until the members
// are back.
func TestClusterOutage(t *testing.T) {
	c := startCluster(t, outageStaleness)
	subjects := &subjects{c: c}
	var clients []*client
	for _, g := range c.gates {
		clients = append(clients, c.newClient(g))
	}
	valid := subjects.create(t.Context(), 0, clients, false)
	gone := subjects.create(t.Context(), 0, clients, false)
	if valid == nil || gone == nil {
		t.Fatal("the tokens couldn't be created")
	}
	status := func(cl *client, s *subject) int {
		return cl.use(t.Context(), s.id, s.newest, s.secrets[s.newest]).Status
	}
	want := func(when string, s *subject, want int) {
		t.Helper()
		for _, cl := range clients {
			if got := status(cl, s); got != want {
				t.Errorf("%s: %s responds with %d, want %d", when, cl.gate.name, got, want)
			}
		}
	}
	revoke := func(cl *client) (answer, time.Duration) {
		begun := time.Now()
		return cl.do(t.Context(), http.MethodPost, "tokens/"+gone.id+"/revoke", nil, 0), time.Since(begun)
	}
	for _, cl := range clients {
		c.eventually(5*time.Second, cl.gate.name+" knows the tokens", func() bool {
			return status(cl, valid) == 200 && status(cl, gone) == 200
		})
	}
	random := rand.New(rand.NewPCG(1, 1))
	if _, took := revoke(clients[random.IntN(3)]); took > time.Second {
		t.Logf("a change took %s", took)
	}
	for _, cl := range clients {
		c.eventually(5*time.Second, cl.gate.name+" knows of the revocation",
			func() bool { return status(cl, gone) == 401 })
	}

	for _, m := range c.members {
		m.kill()
	}
	begun := time.Now()
	want("after the members ended", valid, 200)
	want("after the members ended", gone, 401)
	for _, cl := range clients {
		begunChange := time.Now()
		a := cl.do(t.Context(), http.MethodPatch, "tokens/"+valid.id, map[string]any{"name": "outage"}, 0)
		took := time.Since(begunChange)
		if a.Status != http.StatusServiceUnavailable || took > requestTimeout+time.Second {
			t.Errorf("a change at %s: %s after %s; want 503 within %s", cl.gate.name, a, took, requestTimeout)
		}
		begunRead := time.Now()
		a = cl.do(t.Context(), http.MethodGet, "tokens/"+valid.id, nil, 0)
		if a.Status != 200 || a.Header.Get("Mollygate-Replica-Age") == "" {
			t.Errorf("a read at %s: %s with header %v, want 200 with a Mollygate-Replica-Age", cl.gate.name, a,
				a.Header)
		}
		if took := time.Since(begunRead); took > requestTimeout+time.Second {
			t.Errorf("a read at %s took %s", cl.gate.name, took)
		}
		if time.Since(begun) > outageStaleness/3 {
			break // the other gates would be stale before they are asked
		}
	}
	restarted := clients[0]
	restarted.gate.kill()
	if err := restarted.gate.start(); err != nil {
		t.Fatal(err)
	}
	c.eventually(outageStaleness, "the restarted gate serves without members",
		func() bool { return status(restarted, valid) == 200 })
	t.Logf("the restarted gate serves %s after the members ended", since(begun))
	if got := status(restarted, gone); got != 401 {
		t.Errorf("the restarted gate responds to a revoked token with %d, want 401", got)
	}
	if since := time.Since(begun); since < outageStaleness-freshnessSlack {
		want(fmt.Sprintf("%s after the members ended", since), valid, 200)
	}

	time.Sleep(time.Until(begun.Add(outageStaleness + time.Second)))
	want("after max_staleness", valid, 503)
	want("after max_staleness", gone, 503)
	for _, cl := range clients {
		if a := cl.do(t.Context(), http.MethodGet, "tokens/"+valid.id, nil, 0); a.Status != 503 {
			t.Errorf("an admin read at %s after max_staleness: %s, want 503", cl.gate.name, a)
		}
	}

	for _, m := range c.members {
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.etcdHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	for _, cl := range clients {
		c.eventually(time.Minute, cl.gate.name+" serves again",
			func() bool { return status(cl, valid) == 200 && status(cl, gone) == 401 })
		a := cl.do(t.Context(), http.MethodPatch, "tokens/"+valid.id, map[string]any{"name": cl.gate.name}, 0)
		if a.Status != 200 {
			t.Errorf("a change at %s after the outage: %s", cl.gate.name, a)
		}
	}
	t.Logf("all gates serve %s after the members are back", since(begun))
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
