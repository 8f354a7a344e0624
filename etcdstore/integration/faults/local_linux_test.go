package faults

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestLocalGate runs a single gate with a store of its own. It kills and pauses the gate, fills
// its disk and steps its clock. The history must satisfy the same rules as that of a cluster.
func TestLocalGate(t *testing.T) {
	random := newRandom(t)
	c := newCluster(t, 0)
	c.startGates(1, localStore, "64m")
	l := c.startLoad(random, standardLoad)
	x := c.newChaos(forever)
	ctx, cancel := context.WithTimeout(t.Context(), min(*clusterFor, 30*time.Second))
	defer cancel()
	x.inject(ctx, random, 100*time.Millisecond, 3*time.Second, slices.Concat(gateFaults, machineFaults))
	if err := c.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	l.stop()
	c.check(0)
	c.checkUsage(l, time.Minute)
}
