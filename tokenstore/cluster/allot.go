package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// allotTimeout limits how long a request waits for a part of its token's quota.
const allotTimeout = time.Second

// allotment is what the nodes may allow of a token's quota in a period.
type allotment struct {
	// End is the first day after the period.
	End tokenstore.Day `json:"end"`
	// Nodes maps each node to the number of requests that it may allow.
	Nodes map[string]int64 `json:"nodes"`
}

// errConflict means that a record has been changed since it was read.
var errConflict = errors.New("the record in the shared store has been changed at the same time")

// Allot implements tokenstore.Shared. A node gets a share of what is left that leaves enough for
// the others, so shares become smaller toward the end.
func (b *Backend) Allot(id token.ID, start, end tokenstore.Day, limit, own int64, more bool) (int64, error) {
	if problem := b.Contact().Problem; problem != nil {
		return 0, b.unavailable("this gate has used up its part of the quota and can't get more", problem)
	}
	ctx, cancel := context.WithTimeout(b.context, min(allotTimeout, b.options.RequestTimeout))
	defer cancel()
	for {
		allotted, err := b.tryAllot(ctx, id, start, end, limit, own, more)
		if !errors.Is(err, errConflict) || ctx.Err() != nil {
			return allotted, err
		}
	}
}

// tryAllot makes one attempt. The error is errConflict if another node was faster.
func (b *Backend) tryAllot(ctx context.Context, id token.ID, start, end tokenstore.Day, limit, own int64,
	more bool) (int64, error) {
	n := b.writer.current()
	key := keysOf(n.Generation).of(quotaPart, fmt.Sprintf("%s/%d", id[:], start))
	records, err := b.engine.Read(ctx, key, storeKey)
	if err == nil {
		err = b.checkFollowed(records[1], n)
	}
	if err != nil {
		return 0, b.unavailable("the shared store can't be read", err)
	}
	a := allotment{End: end, Nodes: make(map[string]int64)}
	if records[0].Revision != 0 {
		if err := b.openAllotment(records[0], &a); err != nil {
			return 0, fmt.Errorf("%w: the parts of a token's quota: %w", tokenstore.ErrUnavailable, err)
		}
	}
	if a.Nodes[n.Node] = own; more {
		others, err := b.usedByOthers(id, start, end, n.Node, a.Nodes)
		if err != nil {
			return 0, err
		}
		if left := limit - own - others; left > 0 {
			a.Nodes[n.Node] += max(1, left/int64(2*b.liveNodes()))
		}
	}
	value, err := json.Marshal(a)
	if err != nil {
		return 0, err
	}
	result, err := b.engine.Commit(ctx,
		[]Condition{{key, records[0].Revision}, {storeKey, records[1].Revision}},
		[]Write{{Key: key, Value: b.seal.seal(key, value)}})
	switch {
	case err != nil:
		return 0, b.unavailable("the shared store didn't confirm the change", err)
	case !result.Committed:
		return 0, errConflict
	}
	return a.Nodes[n.Node], nil
}

func (b *Backend) openAllotment(r Record, a *allotment) error {
	value, err := b.seal.open(r.Key, r.Value)
	if err != nil {
		return err
	}
	return json.Unmarshal(value, a)
}

// deleteAllotments deletes the allotments of periods that have ended.
func (b *Backend) deleteAllotments(ctx context.Context) error {
	today := tokenstore.DayOf(b.options.Clock.Now())
	var writes []Write
	_, err := b.engine.Snapshot(ctx, keysOf(b.writer.current().Generation).of(quotaPart, ""), func(r Record) error {
		var a allotment
		if err := b.openAllotment(r, &a); err == nil && a.End < today { // a day later, because clocks differ
			writes = append(writes, Write{Key: r.Key})
		}
		return nil
	})
	for chunk := range slices.Chunk(writes, maxBatch) {
		if err == nil {
			_, err = b.engine.Commit(ctx, nil, chunk)
		}
	}
	return err
}

// usedByOthers returns how many requests other nodes have allowed in a period, or may still allow.
func (b *Backend) usedByOthers(id token.ID, start, end tokenstore.Day, self string, a map[string]int64) (sum int64,
	err error) {
	byNode, err := b.replica.ElsewhereByNode(id, start, end-1)
	if err != nil {
		return 0, err
	}
	for node, usage := range byNode {
		var allowed int64
		for _, day := range usage.Days {
			if day.Day >= start && day.Day < end {
				allowed += day.Allowed()
			}
		}
		a[node] = max(a[node], allowed)
	}
	for node, n := range a {
		if node != self {
			sum += n
		}
	}
	return sum, nil
}

// liveNodes returns the number of live nodes, including this one.
func (b *Backend) liveNodes() int {
	n := 1
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	for id, node := range b.nodes.others {
		if node.Live && id != b.nodes.self.ID {
			n++
		}
	}
	return n
}
