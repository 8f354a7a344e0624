package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// A restore writes the backup as a new generation, which no node reads, and then switches all
// nodes to it in one transaction. Generations are numbered by the time of their restore, in
// microseconds since 1970, except for a store's first generation, 1.

const (
	generationPrefix = "generation/" // one record per generation
	// generationRetention is how long a generation that isn't in use is kept.
	generationRetention = 24 * time.Hour
	// restoredNode is the node that a backup's usage belongs to.
	restoredNode = "restored"
	// maxBatch and maxBatchSize limit the records and bytes in one transaction.
	maxBatch     = 90
	maxBatchSize = 512 << 10
)

func generationKey(generation uint64) string {
	return generationPrefix + strconv.FormatUint(generation, 10)
}

// Restore implements tokenstore.Shared.
func (b *Backend) Restore(ctx context.Context, path string, entry tokenstore.AuditEntry) (tokenstore.Restored, error) {
	restored, err := bolt.CheckBackup(path)
	if err != nil {
		return tokenstore.Restored{}, err
	}
	source, err := bolt.Open(path)
	if err != nil {
		return tokenstore.Restored{}, err
	}
	err = b.restore(ctx, source, entry)
	if closeErr := source.Close(); closeErr != nil {
		b.logger.Warn("closing a restored backup failed", zap.Error(closeErr))
	}
	return restored, err
}

func (b *Backend) restore(ctx context.Context, source *bolt.Backend, entry tokenstore.AuditEntry) error {
	records, err := b.engine.Read(ctx, storeKey)
	if err != nil {
		return b.unavailable("the shared store can't be read", err)
	}
	old := description{Identity: newID()}
	if n := b.writer.current(); n.Identity != "" { // so that all nodes follow a store that was emptied
		old.Identity, old.Generation = n.Identity, n.Generation
	}
	if records[0].Revision != 0 {
		if old, err = b.describe(records[0].Value); err != nil {
			return b.unavailable("the shared store can't be changed", err)
		}
	}
	if old.Schema == 0 {
		old.Schema = b.options.Schema
	}
	d := description{Format: formatName, Schema: old.Schema, Identity: old.Identity, Lineage: newID(),
		Sealed: b.seal.sealed(), Generation: max(old.Generation+1, uint64(b.options.Clock.Now().UnixMicro()))}
	w := batchWriter{Backend: b, ctx: ctx, keys: keysOf(d.Generation),
		condition: Condition{Key: storeKey, Revision: records[0].Revision}}
	w.put(generationKey(d.Generation), []byte(d.Identity))
	for _, copyPart := range []func(*bolt.Backend) error{w.copyTables, w.copyUsage, w.copySums, w.flushed} {
		if err := copyPart(source); err != nil {
			return b.unavailable("the backup could not be written to the shared store, which is unchanged", err)
		}
	}
	t := transaction{sealer: b.seal, keys: w.keys}
	t.condition(storeKey, records[0].Revision)
	audit := t.putAudit(b.sequence.next(), entry)
	t.writes = append(t.writes, Write{Key: storeKey, Value: d.encode(b.seal)})
	committing, cancel := b.deadline()
	defer cancel()
	_, failed, err := b.commit(committing, &t, t.keys.audit(audit))
	if err == nil && failed != nil {
		err = b.unavailable("nothing was restored", errReplaced)
	}
	if err == nil {
		b.logger.Warn("a backup was restored into the shared store", zap.Uint64("generation", d.Generation))
	}
	return err
}

// batchWriter writes many records, in transactions that fail once the store's description has
// changed.
type batchWriter struct {
	*Backend
	ctx       context.Context
	keys      keys
	condition Condition
	writes    []Write
	size      int
	err       error
}

// put adds a record. Errors are returned by flushed.
func (w *batchWriter) put(key string, record []byte) {
	w.writes = append(w.writes, Write{Key: key, Value: w.seal.seal(key, record)})
	if w.size += len(record); len(w.writes) == maxBatch || w.size > maxBatchSize {
		w.flush()
	}
}

func (w *batchWriter) flush() {
	if len(w.writes) == 0 || w.err != nil {
		return
	}
	result, err := w.engine.Commit(w.ctx, []Condition{w.condition}, w.writes)
	if err == nil && !result.Committed {
		err = errReplaced
	}
	w.writes, w.size, w.err = nil, 0, err
}

func (w *batchWriter) flushed(*bolt.Backend) error {
	w.flush()
	return w.err
}

// copyTables copies the records of all tables.
func (w *batchWriter) copyTables(source *bolt.Backend) error {
	for _, part := range []string{auditPart, endedPart, requestPart, tokenPart} {
		err := source.Records(tables[part], nil, func(key, value []byte) bool {
			w.put(w.keys.key(part, key), slices.Clone(value))
			if part == tokenPart {
				w.putImported(key, value)
			}
			return w.err == nil
		})
		if err := errors.Join(err, w.err); err != nil {
			return err
		}
	}
	return nil
}

// putImported adds the record that keeps an imported token's secret unique.
func (w *batchWriter) putImported(id, record []byte) {
	tok, err := token.DecodeToken(token.ID(id), record)
	if err == nil && tok.Format == token.FormatImported {
		w.put(w.keys.digest(tok.Digest), id)
	}
}

// copyUsage copies the tokens' totals, and their days that the shared store keeps.
func (w *batchWriter) copyUsage(source *bolt.Backend) error {
	today := tokenstore.DayOf(w.options.Clock.Now())
	shards := make(map[string][]byte)
	err := source.Scan(token.ID{}, func(tok *token.Token, _ tokenstore.Usage) bool {
		id := tok.ID
		usage, _, err := source.Usage(id, today-reportDays, today)
		if err != nil && !isDamaged(err) {
			w.err = err
		}
		add := func(name string, entry []byte) {
			shards[name] = wire.AppendBytes(shards[name], usageEntry, append(id[:], entry...))
		}
		for _, day := range usage.Days {
			if day.Day >= today-reportDays {
				add(dayName(day.Day, shardOf(id)), tokenstore.EncodeDay(id[:], day))
			}
		}
		if usage.Days = nil; usage.Allowed+usage.Denied > 0 {
			add(totalsName+shardOf(id), tokenstore.EncodeUsage(id, usage))
		}
		return w.err == nil
	})
	if err := errors.Join(err, w.err); err != nil {
		return err
	}
	for name, record := range shards {
		w.put(w.keys.usage(restoredNode, name), record)
	}
	return w.err
}

// copySums copies the sums of all tokens per day.
func (w *batchWriter) copySums(source *bolt.Backend) error {
	today := tokenstore.DayOf(w.options.Clock.Now())
	days, err := source.Totals(today-tokenstore.MaxHistory, today)
	for _, day := range days {
		name := sumName(day.Day)
		w.put(w.keys.usage(restoredNode, name), tokenstore.EncodeDay([]byte(name), day))
	}
	return errors.Join(err, w.err)
}

// deleteGenerations deletes the generations that have not been in use for a day. The node may not
// follow yet, or may follow an earlier generation, so deleteGenerations asks the store which
// generation is in use.
func (b *Backend) deleteGenerations(ctx context.Context) error {
	n := b.writer.current()
	records, err := b.engine.Read(ctx, storeKey)
	if err != nil {
		return err
	}
	if b.checkFollowed(records[0], n) != nil {
		return nil // another node, or the next time
	}
	current, inUse := n.Generation, Condition{Key: storeKey, Revision: records[0].Revision}
	var numbers []uint64
	_, err = b.engine.Snapshot(ctx, generationPrefix, func(r Record) error {
		n, err := strconv.ParseUint(strings.TrimPrefix(r.Key, generationPrefix), 10, 64)
		if err == nil && n != current {
			numbers = append(numbers, n)
		}
		return nil
	})
	if err != nil || b.options.Clock.Now().Sub(time.UnixMicro(int64(current))) < generationRetention {
		return err
	}
	for _, n := range numbers {
		if b.options.Clock.Now().Sub(time.UnixMicro(int64(n))) < generationRetention {
			continue // it may be being written
		}
		if err := b.deleteGeneration(ctx, inUse, n); err != nil {
			return err
		}
	}
	return nil
}

// deleteGeneration deletes a generation while the condition holds.
func (b *Backend) deleteGeneration(ctx context.Context, inUse Condition, generation uint64) error {
	var writes []Write
	remove := func() error {
		if len(writes) == 0 {
			return nil
		}
		result, err := b.engine.Commit(ctx, []Condition{inUse}, writes)
		if err == nil && !result.Committed {
			err = errSwitched
		}
		writes = nil
		return err
	}
	_, err := b.engine.Snapshot(ctx, keysOf(generation).prefix, func(r Record) error {
		if writes = append(writes, Write{Key: r.Key}); len(writes) < maxBatch {
			return nil
		}
		return remove()
	})
	if err == nil {
		writes = append(writes, Write{Key: generationKey(generation)})
		err = remove()
	}
	if err != nil {
		return fmt.Errorf("deleting generation %d: %w", generation, err)
	}
	return nil
}
