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
	// Process identifies the process, and Before the process that used the replica before it.
	Process string `json:"process"`
	// Stopped is set in a process's last report.
	Stopped bool `json:"stopped,omitzero"`
}

// nodeTable holds what is known about the nodes.
type nodeTable struct {
	mu     sync.Mutex
	self   tokenstore.Node
	others map[string]tokenstore.Node
	// schemas are the newest versions of the shared store's records that the others know.
	schemas map[string]int
}

// set records a report. A nil report means that the node is no longer live.
func (t *nodeTable) set(id string, report []byte, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.others == nil {
		t.others, t.schemas = make(map[string]tokenstore.Node), make(map[string]int)
	}
	node, known := t.others[id]
	node.ID = id
	if node.Live = report != nil; !node.Live {
		if known {
			t.others[id] = node
		}
		return
	}
	var p presence
	if err := json.Unmarshal(report, &p); err != nil {
		return // a newer version may have written it
	}
	node.Name, node.Version, node.Started, node.AsOf, node.LastSeen = p.Name, p.Version, p.Started, p.AsOf, now
	node.Live, node.Stopped = !p.Stopped, p.Stopped
	t.others[id], t.schemas[id] = node, p.Schema
}

// allKnow reports whether all live nodes know a version of the shared store's records.
func (t *nodeTable) allKnow(schema int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, node := range t.others {
		if node.Live && id != t.self.ID && t.schemas[id] < schema {
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

// Nodes implements tokenstore.Shared.
func (b *Backend) Nodes() []tokenstore.Node {
	now, asOf, live := b.options.Clock.Now(), b.fresh.get(), b.contact.following()
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	self := b.nodes.self
	self.AsOf, self.LastSeen, self.Live = asOf, now, live
	nodes := []tokenstore.Node{self}
	for id, node := range b.nodes.others {
		if id != self.ID {
			nodes = append(nodes, node)
		}
	}
	if counted, err := b.replica.Nodes(); err == nil { // nodes that have counted, but are gone
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
		values[strings.TrimPrefix(r.Key, valuePrefix)] = b.openValue(r)
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
	process := newID()
	for ctx.Err() == nil {
		hold, err := b.claim(ctx, process)
		if err != nil {
			b.logger.Debug("reporting this gate's state to the shared store failed; will retry", zap.Error(err))
			wait(ctx, maxRetry)
			continue
		}
		b.reporter.allow()
		b.reportPresence(ctx, hold, process)
		if ctx.Err() != nil {
			releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.RequestTimeout)
			_ = hold.Update(releasing, b.presence(process, true))
			_ = hold.Release(releasing) // otherwise it expires
			cancel()
		}
	}
}

// claim holds the node's record. If a process that is still running holds it, the replica was
// copied while that process ran, for example with its virtual machine. This node then takes
// another ID, and leaves the usage counted so far to the other one.
func (b *Backend) claim(ctx context.Context, process string) (Hold, error) {
	n := b.writer.current()
	key := nodePrefix + n.Node
	var seen int64
	for reports := 0; reports <= ownReports; {
		hold, err := b.engine.Hold(ctx, key, b.presence(process, false), nodeTTL)
		if err == nil {
			b.writer.add(updateNothing, func(n *note) { n.Process = process })
			return hold, nil
		}
		if !errors.Is(err, ErrHeld) {
			return nil, err
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
	b.writer.add(bolt.Update{ForgetOwn: true}, func(n *note) { n.Node, n.Revision = taken, 0 })
	b.contact.restart() // lists again, to get the usage that was this node's
	return b.engine.Hold(ctx, nodePrefix+taken, b.presence(process, false), nodeTTL)
}

// presence returns the record with this node's state. stopped is set if it is the last one.
func (b *Backend) presence(process string, stopped bool) []byte {
	b.nodes.mu.Lock()
	self := b.nodes.self
	b.nodes.mu.Unlock()
	report, err := json.Marshal(presence{Name: self.Name, Version: self.Version, Started: self.Started,
		Schema: b.options.Schema, Time: b.options.Clock.Now(), AsOf: b.fresh.get(), Process: process,
		Stopped: stopped})
	if err != nil {
		panic(err) // can't fail: all fields are strings and times
	}
	return b.seal.seal(nodePrefix+self.ID, report)
}

// reportPresence reports until the hold is lost.
func (b *Backend) reportPresence(ctx context.Context, hold Hold, process string) {
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
			_ = hold.Update(updating, b.presence(process, false)) // if it fails, the hold is lost soon
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
