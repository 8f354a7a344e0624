package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

const (
	// listChunk is the number of changes that a node writes to its replica at a time while it
	// lists the shared store.
	listChunk = 5000
	// cursorChunk is the number of the replica's records that are read at a time.
	cursorChunk = 1000
)

// list reads the whole shared store and makes the replica equal to it. It writes only the
// differences, in several steps. After each step, every token in the replica has either its
// state from before or its new one.
func (b *Backend) list(ctx context.Context, d description, n note) error {
	l := lister{Backend: b, keys: keysOf(d.Generation), nodes: make(map[string]bool),
		values: make(map[string][]byte), compared: make(map[bolt.Table]bool), read: received{first: n.AsOf.IsZero()}}
	b.accepting.Store(n.Identity != "" && (n.Generation != d.Generation || n.Lineage != d.Lineage))
	defer b.accepting.Store(false)
	asked := b.listings.Load()
	b.writer.add(updateNothing, func(n *note) { n.Revision = 0 })
	if err := l.flush(ctx); err != nil {
		return err
	}
	b.overlay.restart(b.accepting.Load())
	l.pending = b.writer.pending()
	for _, id := range b.overlay.ids() {
		l.pending[recordKey{bolt.TokensTable, string(id[:])}] = true
	}
	b.nodes.clear()
	revision, err := b.engine.Snapshot(ctx, "", func(r Record) error { return l.add(ctx, r) })
	if err != nil {
		return fmt.Errorf("reading the shared store: %w", err)
	}
	if err := l.end(revision); err != nil {
		return err
	}
	if l.read.first {
		l.write(func(*note) {})
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	forget := n.Generation != 0 && n.Generation != d.Generation
	l.read.update.ForgetOwn = forget // the new generation includes it
	if b.listings.Load() != asked {
		return errListAgain
	}
	l.read.update.Complete = true
	newest, seen := l.newest, l.seen
	l.write(func(n *note) {
		n.Identity, n.Generation, n.Lineage, n.Revision = d.Identity, d.Generation, d.Lineage, revision
		n.LastChange, n.LastRevision, n.Anchor = newest.Key, newest.Revision, seen
	})
	b.values.Replace(l.values)
	if err := l.flush(ctx); err != nil {
		return err
	}
	if forget {
		b.replaced()
	} else {
		b.changed(nil)
	}
	b.seen.restart(revision)
	if forget {
		b.reporter.reset()
	}
	b.logger.Info("the shared store has been read", zap.Int64("revision", revision), zap.Int("tokens", l.tokens))
	return nil
}

// lister compares the shared store with the replica.
type lister struct {
	*Backend
	keys   keys
	read   received
	tokens int
	// newest is the newest change's audit record.
	newest struct {
		Key      string
		Revision int64
	}
	// seen is the newest record.
	seen anchor
	// cursor compares with the table of the last record. part is its part of the key.
	part   string
	cursor *cursor
	// compared are the tables that have been compared.
	compared map[bolt.Table]bool
	// pending are the records that the replica's file may not have yet.
	pending map[recordKey]bool
	// gone holds the replica's records that the shared store doesn't have.
	gone []bolt.Record
	// nodes are the nodes that have reported usage.
	nodes  map[string]bool
	values map[string][]byte
}

// add compares one record with the replica.
func (l *lister) add(ctx context.Context, r Record) error {
	l.seen.see(r)
	if strings.HasPrefix(r.Key, nodePrefix) {
		l.readPresence(r)
		return nil
	}
	if name, ok := strings.CutPrefix(r.Key, valuePrefix); ok {
		if value := l.openValue(r); value != nil {
			l.values[name] = value
		}
		return nil
	}
	part, rest, ok := l.keys.parse(r.Key)
	if !ok {
		l.readTime(&l.read, r)
		return nil
	}
	if part != l.part {
		if err := l.endTable(); err != nil {
			return err
		}
		if l.part = part; tables[part] != 0 {
			l.cursor = &cursor{replica: l.replica, table: tables[part]}
		}
	}
	if part == tokenPart {
		l.tokens++
	}
	if r.Revision > l.newest.Revision && part == auditPart {
		l.newest.Key, l.newest.Revision = r.Key, r.Revision
	}
	if part == usagePart {
		node, _, _ := strings.Cut(rest, "/")
		l.nodes[node] = true
	}
	if tables[part] != 0 {
		same, err := l.same(part, rest, r)
		if err != nil || same {
			return err
		}
	}
	l.Backend.read(&l.read, l.keys, r)
	if len(l.read.update.Records)+len(l.read.update.Usage) < listChunk {
		return nil
	}
	l.write(func(*note) {})
	return l.flush(ctx)
}

// flush waits until what has been read is written. A full disk isn't an error, unless the tokens
// are only in the file.
func (l *lister) flush(ctx context.Context) error {
	err := l.writer.flush(ctx)
	if err != nil && (l.read.first || ctx.Err() != nil) {
		return fmt.Errorf("writing the replica: %w", err)
	}
	return nil
}

// same reports whether the replica has the same record.
func (l *lister) same(part, rest string, r Record) (bool, error) {
	key, ok := replicaKey(part, rest)
	if !ok {
		return false, nil
	}
	stored, gone, err := l.cursor.to(key)
	for _, key := range gone {
		l.gone = append(l.gone, bolt.Record{Table: tables[part], Key: key})
	}
	value, openErr := l.seal.open(r.Key, r.Value)
	if openErr != nil {
		value = nil // read reports it
	}
	if id := (recordKey{tables[part], string(key)}); l.pending[id] {
		delete(l.pending, id)
		return false, err
	}
	return stored != nil && openErr == nil && bytes.Equal(stored, value), err
}

// endTable notes the replica's records after the last one compared.
func (l *lister) endTable() error {
	if l.cursor == nil {
		return nil
	}
	gone, err := l.cursor.rest()
	for _, key := range gone {
		l.gone = append(l.gone, bolt.Record{Table: l.cursor.table, Key: key})
	}
	l.compared[l.cursor.table] = true
	l.cursor = nil
	return err
}

// end adds the deletion of what the shared store doesn't have.
func (l *lister) end(revision int64) error {
	if err := l.endTable(); err != nil {
		return err
	}
	for _, table := range tables { // those without a record
		if !l.compared[table] {
			l.cursor = &cursor{replica: l.replica, table: table}
			if err := l.endTable(); err != nil {
				return err
			}
		}
	}
	for id := range l.pending {
		l.gone = append(l.gone, bolt.Record{Table: id.table, Key: []byte(id.key)})
	}
	for _, record := range l.gone {
		if record.Table == bolt.TokensTable && len(record.Key) == len(token.ID{}) {
			id := token.ID(record.Key)
			l.inForce(&l.read, id, overlaid{revision: revision})
		}
		l.read.update.Records = append(l.read.update.Records, record)
	}
	known, err := l.replica.Nodes()
	if err != nil {
		return err
	}
	for _, node := range known {
		if !l.nodes[node] {
			l.read.update.ForgetNodes = append(l.read.update.ForgetNodes, node)
		}
	}
	return nil
}

// write puts what has been read into force and has it written.
func (l *lister) write(edit func(*note)) {
	l.notify(&l.read)
	l.writer.add(l.read.update, edit)
	l.read = received{first: l.read.first}
}

// cursor walks through one of the replica's tables.
type cursor struct {
	replica *bolt.Replica
	table   bolt.Table
	loaded  []bolt.Record
	after   []byte
	end     bool
}

// to moves to a key, which must be greater than the one before. It returns the value stored
// there, or nil, and the keys that were skipped.
func (c *cursor) to(key []byte) (value []byte, skipped [][]byte, err error) {
	for {
		if len(c.loaded) == 0 {
			if c.end {
				return nil, skipped, nil
			}
			if err := c.load(); err != nil {
				return nil, skipped, err
			}
			continue
		}
		next := c.loaded[0]
		order := bytes.Compare(next.Key, key)
		if order > 0 {
			return nil, skipped, nil
		}
		c.loaded = c.loaded[1:]
		if order == 0 {
			return next.Value, skipped, nil
		}
		skipped = append(skipped, next.Key)
	}
}

// rest returns all remaining keys.
func (c *cursor) rest() (keys [][]byte, err error) {
	for {
		for _, record := range c.loaded {
			keys = append(keys, record.Key)
		}
		c.loaded = nil
		if c.end {
			return keys, nil
		}
		if err := c.load(); err != nil {
			return keys, err
		}
	}
}

func (c *cursor) load() error {
	c.end = true
	err := c.replica.Records(c.table, c.after, func(key, value []byte) bool {
		c.loaded = append(c.loaded, bolt.Record{Key: bytes.Clone(key), Value: bytes.Clone(value)})
		c.end = len(c.loaded) < cursorChunk
		return c.end
	})
	if n := len(c.loaded); n > 0 {
		c.after = c.loaded[n-1].Key
	}
	return err
}
