package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
)

// A shared store that was restored from an older copy can have all changes that a node knows and
// yet lack other commits, such as reports of usage. New commits then get revisions that the node
// has already seen, and a watch from the node's revision would skip them. So each watch begins
// with a commit that the node already knows. If it isn't the same, the node lists everything.

// anchor is a record that a node has seen. The zero value is none.
type anchor struct {
	Revision int64  `json:"revision"`
	Key      string `json:"key"`
	Sum      []byte `json:"sum"` // of the value
}

// errRewritten means that the shared store's commits are not those that the node has seen.
var errRewritten = errors.New("the shared store was restored from another copy")

func anchorOf(key string, value []byte, revision int64) anchor {
	sum := sha256.Sum256(value)
	return anchor{revision, key, sum[:]}
}

// see makes the record the anchor if it is newer.
func (a *anchor) see(r Record) {
	if r.Revision > a.Revision {
		*a = anchorOf(r.Key, r.Value, r.Revision)
	}
}

// isIn reports whether the record is in a commit.
func (a *anchor) isIn(c Commit) bool {
	return c.Revision == a.Revision && slices.ContainsFunc(c.Writes, func(w Write) bool {
		return w.Key == a.Key && w.Value != nil && bytes.Equal(anchorOf(w.Key, w.Value, c.Revision).Sum, a.Sum)
	})
}

// checkRevision returns errRewritten if the shared store doesn't have as many commits as the node
// has seen. A watch would then wait for the first commit.
func (b *Backend) checkRevision(ctx context.Context, n note) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	revision, err := b.engine.Snapshot(ctx, storeKey, func(Record) error { return nil })
	if err == nil && revision < n.Revision {
		err = errRewritten
	}
	return err
}

// watch watches the shared store from the node's revision. It calls begin once it is certain that
// no commit is missing.
func (b *Backend) watch(ctx context.Context, n note, begin func()) error {
	keys, after, checked := keysOf(n.Generation), n.Revision, n.Anchor.Revision == 0
	if checked {
		begin()
	} else {
		after = n.Anchor.Revision - 1
	}
	return b.engine.Watch(ctx, after, func(c Commit) error {
		if !checked {
			if !n.Anchor.isIn(c) {
				return errRewritten
			}
			checked = true
			begin()
		}
		if c.Revision <= n.Revision {
			return nil
		}
		return b.receive(c, keys)
	})
}
