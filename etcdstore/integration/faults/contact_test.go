package faults

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// freshnessSlack is how much earlier than expected a gate may become stale: what it knows
	// is as of its last contact, which can be older than the begin of a fault.
	freshnessSlack = 3 * time.Second
	// recoverySlack is how long a gate may take to become fresh again after a fault.
	recoverySlack = 5 * time.Second
	// contactGap is how long a gate must have contact between two faults, so that the second
	// one doesn't prolong the first.
	contactGap = 2 * time.Second
	// failover is how long a gate may take to find another member, or the members to find
	// another leader.
	failover = 6 * time.Second
)

// A disturbance is a time in which a gate may have had no contact with the etcd cluster.
type disturbance struct {
	gate     int
	from, to time.Duration
	// stale is when the gate may become stale at the earliest.
	stale time.Duration
}

// contact collects the disturbances of a run.
type contact struct {
	history      *history
	maxStaleness time.Duration
	mu           sync.Mutex
	list         []disturbance
}

// disturb begins a disturbance of some gates. The returned function ends it.
func (c *contact) disturb(gates ...int) (end func()) {
	from := c.history.now()
	return func() { c.add(gates, from, c.history.now(), from+c.maxStaleness-freshnessSlack) }
}

// change records that something has changed to which the gates have to react: a member is gone
// or back.
func (c *contact) change(gates ...int) {
	from := c.history.now()
	c.add(gates, from, from+failover, from+c.maxStaleness-freshnessSlack)
}

// stepped records that a gate's clock has changed. The gate can't know how long it hasn't run,
// so it may be stale until its next contact.
func (c *contact) stepped(gate int) {
	from := c.history.now()
	c.add([]int{gate}, from, from+time.Second, from)
}

func (c *contact) add(gates []int, from, to, stale time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, gate := range gates {
		c.list = append(c.list, disturbance{gate, from, to, stale})
	}
}

// excuses returns the times in which gates may be stale. Disturbances that follow each other
// quickly count as one.
func (c *contact) excuses() (list []excuse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.list, func(a, b disturbance) int {
		return cmp.Or(cmp.Compare(a.gate, b.gate), cmp.Compare(a.from, b.from))
	})
	var merged []disturbance
	for _, d := range c.list {
		if last := len(merged) - 1; last >= 0 && merged[last].gate == d.gate && d.from < merged[last].to+contactGap {
			merged[last].to, merged[last].stale = max(merged[last].to, d.to), min(merged[last].stale, d.stale)
			continue
		}
		merged = append(merged, d)
	}
	for _, d := range merged {
		if d.to+recoverySlack > d.stale {
			list = append(list, excuse{d.gate, d.stale, d.to + recoverySlack, "no contact"})
		}
	}
	return list
}
