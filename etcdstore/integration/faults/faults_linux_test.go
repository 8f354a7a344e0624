package faults

import (
	"context"
	"slices"
	"testing"
	"time"
)

const (
	requestTimeout = 2 * time.Second
	maxStaleness   = 8 * time.Second
	// bound is how old a state can be that a gate sees.
	bound = maxStaleness + time.Second
)

// startCluster starts three members and three gates.
func startCluster(t *testing.T, staleness time.Duration) *cluster {
	t.Helper()
	c := newCluster(t, 3)
	c.startGates(3, sharedStore(c.members, requestTimeout, staleness), "64m")
	return c
}

// TestClusterFaults changes and uses tokens at three gates while random faults happen.
func TestClusterFaults(t *testing.T) {
	random := newRandom(t)
	c := startCluster(t, maxStaleness)
	l := c.startLoad(random, standardLoad)
	x := c.newChaos(maxStaleness)
	ctx, cancel := context.WithTimeout(t.Context(), *clusterFor)
	defer cancel()
	x.inject(ctx, random, 300*time.Millisecond, 15*time.Second, memberFaults,
		slices.Concat(gateFaults, machineFaults, contactFaults))
	if err := c.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.fresh(30 * time.Second)
	time.Sleep(2 * time.Second) // clients see that everything works
	l.stop()
	c.history.Excuses = append(c.history.Excuses, x.contact.excuses()...)
	c.check(bound)
	c.checkUsage(l, 30*time.Second)
}

// fresh waits until each gate reads from the cluster.
func (c *cluster) fresh(patience time.Duration) {
	c.t.Helper()
	for _, g := range c.gates {
		cl := c.newClient(g)
		c.eventually(patience, g.name+" is fresh", func() bool {
			a := cl.do(c.t.Context(), "GET", "tokens/"+tokenID(c.admin), nil, 0)
			return a.Status == 200 && a.Header.Get("Mollygate-Replica-Age") == ""
		})
	}
}
