package cluster

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// Confirm writes a record; each node that sees it writes an answer. Since nodes see commits in
// order, a node's answer means that all changes before the record are in force there. A node that
// lists the shared store doesn't see the record, so Confirm writes it again from time to time.
const (
	confirmPrefix = "confirm/" // confirm/<request> and confirm/<request>/<node>
	confirmTTL    = time.Minute
	// confirmInterval is how often Confirm looks for answers, and checks whether nodes have gone.
	confirmInterval = 20 * time.Millisecond
	// confirmRepeat is how often Confirm writes its record again.
	confirmRepeat = time.Second
)

// confirmations holds the answers to this node's requests.
type confirmations struct {
	mu      sync.Mutex
	answers map[string]map[string]bool // by request and node
}

// Confirm implements tokenstore.Shared.
func (b *Backend) Confirm(ctx context.Context) (missing []tokenstore.Node, err error) {
	c := &b.confirmations
	request := newID()
	c.mu.Lock()
	if c.answers == nil {
		c.answers = make(map[string]map[string]bool)
	}
	c.answers[request] = make(map[string]bool)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.answers, request)
	}()
	if err := b.askForConfirmation(ctx, request); err != nil {
		return nil, b.unavailable("the gates can't be asked whether they have the change", err)
	}
	asked := time.Now()
	for {
		missing, waiting := b.unconfirmed(request)
		if !waiting || !wait(ctx, confirmInterval) {
			return missing, nil
		}
		if time.Since(asked) >= confirmRepeat {
			_ = b.askForConfirmation(ctx, request) // the nodes that miss it are returned
			asked = time.Now()
		}
	}
}

func (b *Backend) askForConfirmation(ctx context.Context, request string) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	key := confirmPrefix + request
	_, err := b.engine.Commit(ctx, nil,
		[]Write{{Key: key, Value: b.seal.seal(key, []byte(request)), TTL: confirmTTL}})
	return err
}

// unconfirmed returns the nodes that haven't answered and may serve tokens. It reports whether
// any of them is connected, so that it may still answer.
func (b *Backend) unconfirmed(request string) (missing []tokenstore.Node, waiting bool) {
	nodes := b.connected()
	b.confirmations.mu.Lock()
	defer b.confirmations.mu.Unlock()
	for _, node := range nodes {
		if !b.confirmations.answers[request][node.ID] && b.mayServe(node) {
			missing = append(missing, node)
			waiting = waiting || node.Live || node.Self
		}
	}
	return missing, waiting
}

// mayServe reports whether a node may serve tokens. A node without contact does until its copy is
// stale, unless its process has ended.
func (b *Backend) mayServe(node tokenstore.Node) bool {
	switch {
	case node.Live || node.Self:
		return true
	case node.Stopped || node.LastSeen.IsZero():
		return false
	}
	most := b.options.MaxStaleness // all nodes should have the same
	return most == 0 || b.options.Clock.Now().Sub(node.LastSeen) < most+nodeTTL
}

// readConfirm notes an answer to this node's request, or answers another's.
func (b *Backend) readConfirm(record Record) {
	request, node, isAnswer := strings.Cut(strings.TrimPrefix(record.Key, confirmPrefix), "/")
	if record.Value == nil {
		return // expired
	}
	if _, err := b.seal.open(record.Key, record.Value); err != nil {
		return
	}
	if isAnswer {
		b.confirmations.mu.Lock()
		defer b.confirmations.mu.Unlock()
		if answers := b.confirmations.answers[request]; answers != nil {
			answers[node] = true
		}
		return
	}
	key := record.Key + "/" + b.writer.current().Node
	b.running.Go(func() {
		ctx, cancel := b.deadline()
		defer cancel()
		_, err := b.engine.Commit(ctx, nil, []Write{{Key: key, Value: b.seal.seal(key, []byte{}), TTL: confirmTTL}})
		if err != nil {
			b.logger.Debug("confirming changes failed", zap.Error(err))
		}
	})
}
