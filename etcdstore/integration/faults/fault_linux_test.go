package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// chaos injects faults into a cluster.
type chaos struct {
	*cluster
	contact *contact
}

// newChaos returns a chaos for a cluster whose gates have the given max_staleness.
func (c *cluster) newChaos(maxStaleness time.Duration) *chaos {
	return &chaos{c, &contact{history: c.history, maxStaleness: maxStaleness}}
}

// A fault begins when it is called and ends before it returns. During the fault, it waits for
// the given time.
type fault struct {
	name string
	run  func(x *chaos, random *rand.Rand, wait func()) error
}

// lane is a list of faults that don't happen at the same time. Faults of different lanes do.
type lane []fault

// faultPause is the average time between two faults of a lane.
const faultPause = 3 * time.Second

// inject injects random faults in each lane until the context is done, and waits until the
// last ones have ended.
func (x *chaos) inject(ctx context.Context, random *rand.Rand, shortest, longest time.Duration, lanes ...lane) {
	done := make(chan struct{})
	for _, faults := range lanes {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				pause(ctx, own, faultPause)
				if ctx.Err() != nil {
					return
				}
				// Short faults are more frequent than long ones.
				length := shortest + time.Duration(own.Float64()*own.Float64()*float64(longest-shortest))
				chosen := faults[own.IntN(len(faults))]
				x.history.note(fmt.Sprintf("%s for %s", chosen.name, length.Round(time.Millisecond)))
				err := chosen.run(x, own, func() {
					select {
					case <-ctx.Done():
					case <-time.After(length):
					}
				})
				x.history.note(chosen.name + " ended")
				if err != nil && ctx.Err() == nil {
					x.t.Errorf("%s: %v", chosen.name, err)
				}
			}
		}()
	}
	for range lanes {
		<-done
	}
}

// anyGate and anyMember return one at random.
func (x *chaos) anyGate(random *rand.Rand) *gate     { return x.gates[random.IntN(len(x.gates))] }
func (x *chaos) anyMember(random *rand.Rand) *member { return x.members[random.IntN(len(x.members))] }

// allGates returns the numbers of all gates.
func (x *chaos) allGates() (all []int) {
	for i := range x.gates {
		all = append(all, i)
	}
	return all
}

// gateFaults are the faults of gates that need no etcd cluster.
var gateFaults = lane{
	{"kill a gate", func(x *chaos, random *rand.Rand, wait func()) error {
		g := x.anyGate(random)
		if !x.countsAreSafe(g) {
			return nil
		}
		defer x.contact.disturb(g.number)()
		end := x.history.excuse(g.number, "starting")
		g.kill()
		wait()
		if err := g.start(); err != nil {
			return err
		}
		err := g.ready(x.t.Context())
		end(0)
		return err
	}},
	{"pause a gate", func(x *chaos, random *rand.Rand, wait func()) error {
		g := x.anyGate(random)
		defer x.contact.disturb(g.number)()
		if err := g.pause(); err != nil {
			return err
		}
		wait()
		return g.resume()
	}},
}

// countsAreSafe waits until a kill of the gate would lose no counts. After its disk was full, a
// gate needs some time to save them; healthz warns of that.
func (x *chaos) countsAreSafe(g *gate) bool {
	for range 100 {
		a := send(x.t.Context(), g.localAdmin(), "GET", "http://caddy/api_tokens/v1/healthz", nil, make(http.Header))
		var health struct {
			Checks struct{ Journal struct{ Status string } }
		}
		if json.Unmarshal(a.Body, &health) == nil && health.Checks.Journal.Status == "ok" {
			return true
		}
		time.Sleep(200 * time.Millisecond)
	}
	return false
}

// memberFaults are the faults of etcd members. The two other members go on.
var memberFaults = lane{
	{"kill a member", func(x *chaos, random *rand.Rand, wait func()) error {
		m := x.anyMember(random)
		x.contact.change(x.allGates()...)
		m.kill()
		wait()
		return x.memberBack(m.start)
	}},
	{"pause a member", func(x *chaos, random *rand.Rand, wait func()) error {
		m := x.anyMember(random)
		x.contact.change(x.allGates()...)
		if err := m.pause(); err != nil {
			return err
		}
		wait()
		return x.memberBack(m.resume)
	}},
	{"cut off the leader", func(x *chaos, _ *rand.Rand, wait func()) error {
		m, err := x.leader(x.t.Context())
		if err != nil {
			return nil // there is no leader at the moment
		}
		x.contact.change(x.allGates()...)
		heal, err := m.wall.cut(x.others(m)...)
		if err != nil {
			return err
		}
		wait()
		return x.memberBack(heal)
	}},
}

// memberBack ends a fault of a member and waits until all members work.
func (x *chaos) memberBack(end func() error) error {
	x.contact.change(x.allGates()...)
	if err := end(); err != nil {
		return err
	}
	return x.etcdHealthy(x.t.Context())
}

// others returns the addresses of all nodes except a member and the clients.
func (x *chaos) others(except *member) (list []string) {
	for _, m := range x.members {
		if m != except {
			list = append(list, m.ip)
		}
	}
	for _, g := range x.gates {
		list = append(list, g.ip)
	}
	return list
}
