package cluster

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// Token implements tokenstore.Backend.
func (b *Backend) Token(id token.ID) (*token.Token, error) {
	if tok, found, err := b.overlay.token(id); found {
		return tok, err
	}
	return b.replica.Token(id)
}

// IDOf implements tokenstore.Backend.
func (b *Backend) IDOf(digest token.Digest) (token.ID, error) {
	if id, found := b.overlay.idOf(digest); found {
		return id, nil
	}
	id, err := b.replica.IDOf(digest)
	if err != nil {
		return id, err
	}
	tok, found, err := b.overlay.token(id)
	if !found || errors.Is(err, token.ErrDamaged) {
		return id, nil
	}
	if tok != nil {
		if _, ok := tok.SecretOf(digest); ok {
			return id, nil
		}
	}
	return token.ID{}, tokenstore.ErrNotFound // rotated or deleted
}

// List implements tokenstore.Backend.
func (b *Backend) List(order tokenstore.Order, after *tokenstore.Position, descending bool,
	yield func(*token.Token) bool) error {
	return b.replica.List(order, after, descending, yield)
}

// Scan implements tokenstore.Backend. The usage includes that of other nodes.
func (b *Backend) Scan(after token.ID, yield func(*token.Token, tokenstore.Usage) bool) error {
	return b.replica.Scan(after, yield)
}

// Usage implements tokenstore.Backend. It returns this node's usage.
func (b *Backend) Usage(id token.ID, first, last tokenstore.Day) (tokenstore.Usage, tokenstore.FlushState, error) {
	return b.replica.Usage(id, first, last)
}

// Elsewhere implements tokenstore.Shared.
func (b *Backend) Elsewhere(id token.ID, first, last tokenstore.Day) (tokenstore.Usage, error) {
	return b.replica.Elsewhere(id, first, last)
}

// ElsewhereByNode implements tokenstore.Shared.
func (b *Backend) ElsewhereByNode(id token.ID, first, last tokenstore.Day) (map[string]tokenstore.Usage, error) {
	return b.replica.ElsewhereByNode(id, first, last)
}

// Refusals implements tokenstore.Backend. It returns this node's refusals.
func (b *Backend) Refusals(id token.ID) ([]tokenstore.Refusal, tokenstore.FlushState, error) {
	return b.replica.Refusals(id)
}

// Totals implements tokenstore.Backend. They include those of other nodes.
func (b *Backend) Totals(first, last tokenstore.Day) ([]tokenstore.DayUsage, error) {
	return b.replica.Totals(first, last)
}

// SaveUsage implements tokenstore.Backend. It saves this node's usage. The replica ignores the
// usage of unknown tokens, so SaveUsage returns an error while a token that is already in force is
// not in the replica's file. The Store then keeps the usage and tries again.
func (b *Backend) SaveUsage(now time.Time, state tokenstore.FlushState,
	came iter.Seq2[token.ID, tokenstore.Usage]) error {
	if err := b.checkWritten(came); err != nil {
		return err
	}
	counted := make([]counts, 0, 64)
	err := b.replica.SaveUsage(now, state, func(yield func(token.ID, tokenstore.Usage) bool) {
		counted = counted[:0] // a rebuild of the file makes another attempt
		for id, usage := range came {
			counted = append(counted, countsOf(id, usage))
			if !yield(id, usage) {
				return
			}
		}
	})
	if err == nil {
		b.reporter.note(counted)
	}
	return err
}

// checkWritten returns an error if one of the tokens exists, but not in the replica's file.
func (b *Backend) checkWritten(used iter.Seq2[token.ID, tokenstore.Usage]) error {
	if b.overlay.n.Load() == 0 {
		return nil
	}
	for id := range used {
		if _, found, err := b.overlay.token(id); !found || errors.Is(err, tokenstore.ErrNotFound) {
			continue
		}
		if _, err := b.replica.Token(id); errors.Is(err, tokenstore.ErrNotFound) {
			return fmt.Errorf("%w: token %s, which was just created, is not in the replica yet",
				tokenstore.ErrUnavailable, id)
		}
	}
	return nil
}

// JournalPath implements tokenstore.Backend.
func (b *Backend) JournalPath() string { return b.replica.JournalPath() }

// Request implements tokenstore.Backend.
func (b *Backend) Request(key token.Digest) (tokenstore.KeptRequest, error) {
	return b.replica.Request(key)
}

// Audit implements tokenstore.Backend.
func (b *Backend) Audit(before *tokenstore.AuditPosition,
	yield func(tokenstore.AuditPosition, tokenstore.AuditEntry) bool) error {
	return b.replica.Audit(before, yield)
}

// State implements tokenstore.Backend.
func (b *Backend) State() (tokenstore.State, error) { return b.replica.State() }

// Health implements tokenstore.Backend.
func (b *Backend) Health() tokenstore.Health { return b.replica.Health() }

// Sequence implements tokenstore.Backend.
func (b *Backend) Sequence() uint64 { return b.replica.Sequence() }

// Compact implements tokenstore.Backend. It compacts this node's replica.
func (b *Backend) Compact() (before, after int64, err error) { return b.replica.Compact() }

// Backup implements tokenstore.Backend. The backup is a store that a single gate can use, with
// the usage of all nodes added up.
func (b *Backend) Backup() (content io.ReadCloser, length int64, err error) {
	return b.replica.Backup()
}

// SetTimes implements tokenstore.Backend. The recorded and the elapsed time belong to this node;
// the others, and the entry, to all nodes.
func (b *Backend) SetTimes(times tokenstore.State, entry *tokenstore.AuditEntry) error {
	if b.closed.Load() && entry != nil {
		return tokenstore.ErrClosed
	}
	if err := b.putTimes(times, entry); err != nil {
		return err
	}
	own := tokenstore.State{Recorded: times.Recorded, Elapsed: times.Elapsed}
	if own == (tokenstore.State{}) {
		return nil
	}
	return b.replica.SetTimes(own, nil)
}

// putTimes writes what belongs to all nodes.
func (b *Backend) putTimes(times tokenstore.State, entry *tokenstore.AuditEntry) error {
	n := b.writer.current()
	t := transaction{sealer: b.seal, keys: keysOf(n.Generation)}
	var audit string
	if entry != nil {
		key := t.putAudit(b.sequence.next(), *entry)
		audit = t.keys.audit(key)
	}
	for key, at := range map[string]time.Time{toldKey: times.Announced, backupKey: times.BackedUp} {
		if !at.IsZero() {
			t.writes = append(t.writes, Write{Key: key, Value: encodeTime(b.seal, key, at)})
		}
	}
	if len(t.writes) == 0 {
		return nil
	}
	ctx, cancel := b.deadline()
	defer cancel()
	records, err := b.engine.Read(ctx, append([]string{storeKey, t.keys.change()}, n.lastKeys()...)...)
	if err != nil {
		return b.unavailable("the shared store can't be read", err)
	}
	if err := b.checkFollowed(records[0], n); err != nil {
		return b.unavailable("the shared store can't be changed", err)
	}
	if err := b.catchUp(ctx, n, records[1].Revision, records[2:]); err != nil {
		return b.unavailable("this gate has not received the newest changes", err)
	}
	t.condition(storeKey, records[0].Revision)
	revision, failed, err := b.commit(ctx, &t, audit)
	switch {
	case err != nil:
		return err
	case failed != nil:
		return b.unavailable("the shared store can't be changed", errSwitched)
	}
	_ = b.settle(ctx, revision)
	return nil
}

// Announce implements tokenstore.Shared.
func (b *Backend) Announce(from, to time.Time) (bool, error) {
	ctx, cancel := b.deadline()
	defer cancel()
	records, err := b.engine.Read(ctx, toldKey)
	if err != nil {
		return false, b.unavailable("the shared store can't be read", err)
	}
	var stored time.Time
	if records[0].Revision != 0 {
		if stored, err = decodeTime(b.seal, toldKey, records[0].Value); err != nil {
			return false, err
		}
	}
	if records[0].Revision != 0 && !stored.Equal(from) { // a store that was restored may have none
		return false, nil
	}
	result, err := b.engine.Commit(ctx, []Condition{{Key: toldKey, Revision: records[0].Revision}},
		[]Write{{Key: toldKey, Value: encodeTime(b.seal, toldKey, to)}})
	if err != nil {
		return false, b.unavailable("the shared store didn't confirm the change", err)
	}
	return result.Committed, nil
}

// pruneChunk is the number of records that Prune deletes from the shared store at a time.
const pruneChunk = 90

// Prune implements tokenstore.Backend. It prunes this node's usage, and the shared audit entries
// and requests.
func (b *Backend) Prune(keep tokenstore.Retention) (more bool, err error) {
	if more, err = b.replica.Prune(keep); err != nil {
		return false, err
	}
	writes, err := b.expired(keep)
	if err != nil {
		return false, err
	}
	ctx, cancel := b.deadline()
	defer cancel()
	if len(writes) == 0 {
		if more {
			return true, nil
		}
		if err := errors.Join(b.deleteGenerations(b.context), b.deleteAllotments(b.context)); err != nil {
			return false, b.unavailable("old records can't be deleted from the shared store", err)
		}
		return false, nil
	}
	result, err := b.engine.Commit(ctx, nil, writes)
	if err != nil {
		return false, b.unavailable("old records can't be deleted from the shared store", err)
	}
	_ = b.settle(ctx, result.Revision)
	return more || len(writes) == pruneChunk, nil
}

// expired returns the deletion of up to pruneChunk shared records that are too old. The newest of
// the old audit entries stays, because nodes recognize the store by the newest entry that they
// know, and it is the newest for nodes that have been cut off for less than the retention.
func (b *Backend) expired(keep tokenstore.Retention) (writes []Write, err error) {
	n := b.writer.current()
	k := keysOf(n.Generation)
	before := n.LastChange
	err = b.replica.Records(bolt.AuditTable, nil, func(key, value []byte) bool {
		entry, err := tokenstore.DecodeAuditEntry(key, value)
		if err == nil && !entry.Time.Before(keep.Audit) {
			return false
		}
		if before != n.LastChange {
			writes = append(writes, Write{Key: before})
		}
		before = k.audit(key)
		return len(writes) < pruneChunk
	})
	if err != nil || len(writes) == pruneChunk {
		return writes, err
	}
	err = b.replica.Records(bolt.RequestsTable, nil, func(key, value []byte) bool {
		request, err := tokenstore.DecodeRequest(token.Digest(key), value)
		if err != nil || request.Time.Before(keep.Requests) {
			writes = append(writes, Write{Key: k.key(requestPart, key)})
		}
		return len(writes) < pruneChunk
	})
	return writes, err
}
