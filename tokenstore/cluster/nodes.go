package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

const (
	// nodeTTL is how long a node counts as live after the shared store last heard from it.
	nodeTTL = 15 * time.Second
	// nodeInterval is how often a node reports its state.
	nodeInterval = 10 * time.Second
)

// ownReports is the number of reports under a node's ID that may be its own: the last one of the
// process before, and one that was in flight when that process ended.
const ownReports = 2

// presence is what a node reports about itself.
type presence struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Schema is the newest version of the shared store's records that the node knows.
	Schema  int       `json:"schema"`
	Started time.Time `json:"started"`
	Time    time.Time `json:"time"`
	AsOf    time.Time `json:"as_of,omitzero"`
	// Stopped is set in a process's last report.
	Stopped bool `json:"stopped,omitzero"`
}

// nodeTable holds what is known about the nodes.
type nodeTable struct {
	mu     sync.Mutex
	self   tokenstore.Node
	others map[string]otherNode
}

// otherNode is another node, with the newest version of the shared store's records that it knows.
type otherNode struct {
	tokenstore.Node
	schema int
}

// set records a report. A nil report means that the node is no longer live.
func (t *nodeTable) set(id string, report []byte, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.others == nil {
		t.others = make(map[string]otherNode)
	}
	node, known := t.others[id]
	if report == nil {
		if node.Live = false; known {
			t.others[id] = node
		}
		return
	}
	var p presence
	if err := json.Unmarshal(report, &p); err != nil {
		return // a newer version may have written it
	}
	t.others[id] = otherNode{tokenstore.Node{ID: id, Name: p.Name, Version: p.Version, Started: p.Started,
		AsOf: p.AsOf, LastSeen: now, Live: !p.Stopped, Stopped: p.Stopped}, p.Schema}
}

// allKnow reports whether all live nodes know a version of the shared store's records.
func (t *nodeTable) allKnow(schema int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, node := range t.others {
		if node.Live && id != t.self.ID && node.schema < schema {
			return false
		}
	}
	return true
}

// clear marks all nodes as not live.
func (t *nodeTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, node := range t.others {
		node.Live = false
		t.others[id] = node
	}
}

// connected returns this node and those that have reported since this process started.
func (b *Backend) connected() []tokenstore.Node {
	now, asOf, live := b.options.Clock.Now(), b.fresh.get(), b.contact.following()
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	self := b.nodes.self
	self.AsOf, self.LastSeen, self.Live = asOf, now, live
	nodes := []tokenstore.Node{self}
	for id, node := range b.nodes.others {
		if id != self.ID {
			nodes = append(nodes, node.Node)
		}
	}
	return nodes
}

// Nodes implements tokenstore.Shared. It reads the usage of all nodes, to find those that have
// counted requests but are gone.
func (b *Backend) Nodes() []tokenstore.Node {
	nodes := b.connected()
	if counted, err := b.replica.Nodes(); err == nil {
		for _, id := range counted {
			if !slices.ContainsFunc(nodes, func(n tokenstore.Node) bool { return n.ID == id }) {
				nodes = append(nodes, tokenstore.Node{ID: id})
			}
		}
	}
	slices.SortFunc(nodes, func(a, b tokenstore.Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return nodes
}

// NodeID implements tokenstore.Shared.
func (b *Backend) NodeID() string {
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	return b.nodes.self.ID
}

// listNodes reads the live nodes and the values, which the replica doesn't keep.
func (b *Backend) listNodes(ctx context.Context) error {
	b.nodes.clear()
	_, err := b.engine.Snapshot(ctx, nodePrefix, func(r Record) error {
		b.readPresence(r)
		return nil
	})
	if err != nil {
		return err
	}
	values := make(map[string][]byte)
	_, err = b.engine.Snapshot(ctx, valuePrefix, func(r Record) error {
		if value := b.openValue(r); value != nil {
			values[strings.TrimPrefix(r.Key, valuePrefix)] = value
		}
		return nil
	})
	if err == nil {
		b.values.Replace(values)
	}
	return err
}

// readPresence reads a node's record, which is deleted when the node is no longer live.
func (b *Backend) readPresence(r Record) {
	b.nodes.set(strings.TrimPrefix(r.Key, nodePrefix), b.openValue(r), b.options.Clock.Now())
}

// keepPresent holds this node's record, which shows that the node is live and that its ID is in
// use, and reports the node's state in it.
func (b *Backend) keepPresent(ctx context.Context) {
	for ctx.Err() == nil {
		hold, err := b.claim(ctx)
		if err != nil {
			b.logger.Debug("reporting this gate's state to the shared store failed; will retry", zap.Error(err))
			wait(ctx, maxRetry)
			continue
		}
		b.reporter.allow()
		b.reportPresence(ctx, hold)
		if ctx.Err() != nil {
			releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.RequestTimeout)
			_ = hold.Update(releasing, b.presence(true))
			_ = hold.Release(releasing) // otherwise it expires
			cancel()
		}
	}
}

// claim holds the node's record. If a process that is still running holds it, the replica was
// copied while that process ran, for example with its virtual machine. This node then takes
// another ID, and leaves the usage counted so far to the other one.
func (b *Backend) claim(ctx context.Context) (Hold, error) {
	n := b.writer.current()
	key := nodePrefix + n.Node
	var seen int64
	for reports := 0; reports <= ownReports; {
		hold, err := b.engine.Hold(ctx, key, b.presence(false), nodeTTL)
		if !errors.Is(err, ErrHeld) {
			return hold, err
		}
		// The record of a process that was killed expires, but only after a while: each election
		// in the shared store makes it last longer. So wait until the process shows that it runs.
		records, err := b.engine.Read(ctx, key)
		if err != nil {
			return nil, err
		}
		if revision := records[0].Revision; revision != 0 && revision != seen {
			seen = revision
			reports++
		}
		if !wait(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
	taken := newID()
	b.logger.Warn("another process uses the same node ID, because this gate's replica was copied; "+
		"taking a new ID; the usage counted so far belongs to the other gate",
		zap.String("node", n.Node), zap.String("new", taken))
	b.nodes.mu.Lock()
	b.nodes.self.ID = taken
	b.nodes.mu.Unlock()
	b.reporter.reset()
	// Listing again gets the usage that was this node's.
	b.listAgain(bolt.Update{ForgetOwn: true}, func(n *note) { n.Node = taken })
	return b.engine.Hold(ctx, nodePrefix+taken, b.presence(false), nodeTTL)
}

// presence returns the record with this node's state. stopped is set if it is the last one.
func (b *Backend) presence(stopped bool) []byte {
	b.nodes.mu.Lock()
	self := b.nodes.self
	b.nodes.mu.Unlock()
	report, err := json.Marshal(presence{Name: self.Name, Version: self.Version, Started: self.Started,
		Schema: b.options.Schema, Time: b.options.Clock.Now(), AsOf: b.fresh.get(), Stopped: stopped})
	if err != nil {
		panic(err) // can't fail: all fields are strings and times
	}
	return b.seal.seal(nodePrefix+self.ID, report)
}

// reportPresence reports until the hold is lost.
func (b *Backend) reportPresence(ctx context.Context, hold Hold) {
	ticker := time.NewTicker(nodeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hold.Lost():
			return
		case <-ticker.C:
			updating, cancel := b.deadline()
			_ = hold.Update(updating, b.presence(false)) // if it fails, the hold is lost soon
			cancel()
		}
	}
}

// wait waits for a duration. It reports false if the context is done before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
