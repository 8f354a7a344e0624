package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const (
	// allotTimeout limits how long a request waits for a part of its token's quota.
	allotTimeout = time.Second
	// allotTTL is how long an allotment is kept after the end of its period.
	allotTTL = 24 * time.Hour
)

// allotment maps nodes to the number of requests that each may allow in a period.
type allotment map[string]int64

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
		if !errors.Is(err, errSwitched) || ctx.Err() != nil {
			return allotted, err
		}
	}
}

// tryAllot makes one attempt. The error is errSwitched if another node was faster.
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
	a := make(allotment)
	if records[0].Revision != 0 {
		value, err := b.seal.open(key, records[0].Value)
		if err == nil {
			err = json.Unmarshal(value, &a)
		}
		if err != nil {
			return 0, fmt.Errorf("%w: a token's allotments: %w", tokenstore.ErrUnavailable, err)
		}
	}
	if a[n.Node] = own; more {
		others, err := b.usedByOthers(id, start, end, n.Node, a)
		if err != nil {
			return 0, err
		}
		if left := limit - own - others; left > 0 {
			a[n.Node] += max(1, left/int64(2*b.liveNodes()))
		}
	}
	value, err := json.Marshal(a)
	if err != nil {
		return 0, err
	}
	ttl := end.Start().Sub(b.options.Clock.Now()) + allotTTL
	result, err := b.engine.Commit(ctx,
		[]Condition{{key, records[0].Revision}, {storeKey, records[1].Revision}},
		[]Write{{Key: key, Value: b.seal.seal(key, value), TTL: max(ttl, allotTTL)}})
	switch {
	case err != nil:
		return 0, b.unavailable("the shared store didn't confirm the change", err)
	case !result.Committed:
		return 0, errSwitched
	}
	return a[n.Node], nil
}

// usedByOthers returns how many requests other nodes have allowed in a period, or may still allow.
func (b *Backend) usedByOthers(id token.ID, start, end tokenstore.Day, self string, a allotment) (sum int64,
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

// liveNodes returns the number of live nodes, at least 1.
func (b *Backend) liveNodes() (n int) {
	for _, node := range b.Nodes() {
		if node.Live || node.Self {
			n++
		}
	}
	return max(n, 1)
}
