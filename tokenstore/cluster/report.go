package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

const (
	// reportInterval is the minimum time between two reports of usage.
	reportInterval = 2 * time.Second
	// reportRate is the maximum number of bytes per second that a node reports.
	reportRate = 128 << 10
	// reportDays is the number of days whose usage is in the shared store. A node that joins
	// later learns only the totals of the days before. It covers a month because monthly quotas
	// are computed from it.
	reportDays = 35
	// maxReport is the number of records in one commit.
	maxReport = 32
)

// Names of a node's usage records, after its ID.
const (
	totalsName = "totals/"
	daysName   = "days/"
	sumsName   = "sums/"
)

// counts are a token and the days on which requests were counted.
type counts struct {
	id   token.ID
	days []tokenstore.Day
}

func countsOf(id token.ID, usage tokenstore.Usage) counts {
	c := counts{id: id}
	for _, day := range usage.Days {
		c.days = append(c.days, day.Day)
	}
	return c
}

// reporter reports this node's usage to the other nodes. Tokens are grouped into shards by the
// last two characters of their IDs; a record holds one shard's totals, or its counts of one day.
type reporter struct {
	mu sync.Mutex
	// allowed is closed once the node holds its ID.
	allowed chan struct{}
	// users are this node's tokens with usage, by shard.
	users map[string]map[token.ID]bool
	// dirty are the names of records that must be written.
	dirty map[string]bool
	// loaded is the day on which users and dirty were completed with what earlier processes
	// counted, or 0.
	loaded tokenstore.Day
}

// shardOf returns the shard of a token.
func shardOf(id token.ID) string { return string(id[len(id)-2:]) }

func dayName(day tokenstore.Day, shard string) string {
	return fmt.Sprintf("%s%05d/%s", daysName, day, shard)
}

func sumName(day tokenstore.Day) string { return fmt.Sprintf("%s%05d", sumsName, day) }

func newReporter() *reporter {
	return &reporter{allowed: make(chan struct{}), users: make(map[string]map[token.ID]bool),
		dirty: make(map[string]bool)}
}

// allow allows reports, once the node holds its ID.
func (r *reporter) allow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.allowed:
	default:
		close(r.allowed)
	}
}

// reset forgets everything counted so far.
func (r *reporter) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.users)
	clear(r.dirty)
	r.loaded = 0
}

// note notes that requests were counted.
func (r *reporter) note(counted []counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range counted {
		r.addUser(c.id)
		shard := shardOf(c.id)
		r.dirty[totalsName+shard] = true
		for _, day := range c.days {
			r.dirty[dayName(day, shard)], r.dirty[sumName(day)] = true, true
		}
	}
}

// addUser adds a token with usage. The caller must hold r.mu.
func (r *reporter) addUser(id token.ID) {
	shard := shardOf(id)
	if r.users[shard] == nil {
		r.users[shard] = make(map[token.ID]bool)
	}
	r.users[shard][id] = true
}

// take returns up to n names of records to write.
func (r *reporter) take(n int) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.dirty {
		if len(names) == n {
			break
		}
		names = append(names, name)
		delete(r.dirty, name)
	}
	return names
}

// putBack marks records as not written.
func (r *reporter) putBack(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.dirty[name] = true
	}
}

// shard returns the sorted IDs of a shard's tokens.
func (r *reporter) shard(name string) []token.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.users[name]), func(a, b token.ID) int { return bytes.Compare(a[:], b[:]) })
}

// report reports usage until the context is done, and then once more.
func (b *Backend) report(ctx context.Context) {
	select {
	case <-b.reporter.allowed:
	case <-ctx.Done():
		return
	}
	failing := false
	for {
		pause := reportInterval
		size, err := b.reportAll(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			b.logger.Warn("reporting this gate's usage to the other gates failed; will retry", zap.Error(err))
		}
		failing = err != nil
		pause = max(pause, time.Duration(size)*time.Second/reportRate)
		if !wait(ctx, pause) {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.RequestTimeout)
			_, _ = b.reportAll(last) // the next process reports what is missing
			cancel()
			return
		}
	}
}

// reportAll writes all records that have changed, and returns how many bytes it has written.
func (b *Backend) reportAll(ctx context.Context) (size int, err error) {
	n := b.writer.current()
	if n.Revision == 0 {
		return 0, nil // the node doesn't know its generation yet
	}
	k := keysOf(n.Generation)
	if err := b.loadReports(ctx, k, n.Node); err != nil {
		return 0, err
	}
	for {
		names := b.reporter.take(maxReport)
		if len(names) == 0 {
			return size, nil
		}
		written, err := b.writeReports(ctx, k, n, names)
		if size += written; err != nil {
			b.reporter.putBack(names)
			if errors.Is(err, errConflict) && ctx.Err() == nil {
				continue
			}
			return size, err
		}
		if size > reportRate && ctx.Err() == nil {
			return size, nil // continue after a pause
		}
	}
}

// writeReports writes the records with the given names, unless they have not changed. Each record
// must have the revision at which it was read: after an attempt whose outcome is unknown, the shared
// store may still carry out that attempt, and must not replace a newer record by an older one. The
// error is then errConflict.
func (b *Backend) writeReports(ctx context.Context, k keys, n note, names []string) (size int, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	stored := []string{storeKey}
	for _, name := range names {
		stored = append(stored, k.usage(n.Node, name))
	}
	records, err := b.engine.Read(ctx, stored...)
	if err != nil {
		return 0, err
	}
	if err := b.checkFollowed(records[0], n); err != nil {
		return 0, err
	}
	t := transaction{sealer: b.seal, keys: k}
	t.condition(storeKey, records[0].Revision)
	first := tokenstore.DayOf(b.options.Clock.Now()) - reportDays
	for i, name := range names {
		if size > maxBatchSize {
			b.reporter.putBack(names[i:])
			break
		}
		record, err := b.usageRecord(name)
		if err != nil {
			return 0, err
		}
		old, key := records[i+1], stored[i+1]
		if kind, day, _ := parseUsageName(name); kind != totalsName && day < first {
			record = nil
		}
		if b.sameReport(old, record) {
			continue
		}
		t.condition(key, old.Revision)
		if record == nil {
			t.remove(key)
			continue
		}
		t.put(key, record)
		size += len(key) + len(record)
	}
	if len(t.writes) == 0 {
		return 0, nil
	}
	result, err := b.engine.Commit(ctx, t.conditions, t.writes)
	if err == nil && !result.Committed {
		err = errConflict
	}
	return size, err
}

// sameReport reports whether the shared store has this record, or has none if record is nil.
func (b *Backend) sameReport(stored Record, record []byte) bool {
	if stored.Revision == 0 || record == nil {
		return stored.Revision == 0 && record == nil
	}
	value, err := b.seal.open(stored.Key, stored.Value)
	return err == nil && bytes.Equal(value, record)
}

// Fields of a usage record.
const usageEntry protowire.Number = 1

// usageRecord encodes the record with the given name: the usage of a shard's tokens, each with
// its ID. It returns nil if there is none.
func (b *Backend) usageRecord(name string) (record []byte, err error) {
	kind, day, shard := parseUsageName(name)
	if kind == sumsName {
		days, err := b.replica.OwnTotals(day, day)
		if err != nil || len(days) == 0 {
			return nil, err
		}
		return tokenstore.EncodeDay([]byte(name), days[0]), nil
	}
	for _, id := range b.reporter.shard(shard) {
		usage, _, err := b.replica.Usage(id, day, day)
		if err != nil && !isDamaged(err) {
			return nil, err
		}
		var entry []byte
		if kind == totalsName {
			if usage.Days = nil; usage.Allowed+usage.Denied == 0 {
				continue // deleted, or damaged
			}
			entry = tokenstore.EncodeUsage(id, usage)
		} else {
			i := slices.IndexFunc(usage.Days, func(d tokenstore.DayUsage) bool { return d.Day == day })
			if i < 0 {
				continue
			}
			entry = tokenstore.EncodeDay(id[:], usage.Days[i])
		}
		record = wire.AppendBytes(record, usageEntry, append(id[:], entry...))
	}
	return record, nil
}

// parseUsageName returns the parts of a usage record's name.
func parseUsageName(name string) (kind string, day tokenstore.Day, shard string) {
	kind, rest, _ := strings.Cut(name, "/")
	kind += "/"
	if kind == totalsName {
		return kind, 0, rest
	}
	number, shard, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return "", 0, ""
	}
	return kind, tokenstore.Day(n), shard
}

// readUsage adds a node's usage record to r. value is nil if the record was deleted, which
// doesn't change what was counted.
func (b *Backend) readUsage(r *received, rest string, value []byte) error {
	node, name, _ := strings.Cut(rest, "/")
	if node == b.writer.current().Node || value == nil {
		return nil
	}
	kind, day, _ := parseUsageName(name)
	switch kind {
	case "":
		return fmt.Errorf("%w: its name is malformed", token.ErrDamaged)
	case sumsName:
		sum, err := tokenstore.DecodeDay([]byte(name), day, value)
		if err == nil {
			r.update.Totals = append(r.update.Totals, bolt.NodeTotal{Node: node, Day: sum})
		}
		return err
	}
	return wire.Each(value, false, func(number protowire.Number, f wire.Field) error {
		entry, err := f.Bytes()
		if number != usageEntry || err != nil || len(entry) < len(token.ID{}) {
			return wire.Damaged(wire.ErrField)
		}
		id := token.ID(entry[:len(token.ID{})])
		usage := bolt.NodeUsage{Node: node, ID: id}
		entry = bytes.Clone(entry[len(id):])
		if kind == totalsName {
			totals, err := tokenstore.DecodeUsage(id, entry)
			if err != nil {
				return err
			}
			usage.Totals = &totals
		} else {
			counted, err := tokenstore.DecodeDay(id[:], day, entry)
			if err != nil {
				return err
			}
			usage.Days = []tokenstore.DayUsage{counted}
		}
		r.update.Usage = append(r.update.Usage, usage)
		return nil
	})
}

// loadReports finds the records that earlier processes have not reported, by comparing all of
// this node's usage with its records in the shared store. It deletes records of days that are too
// old.
func (b *Backend) loadReports(ctx context.Context, k keys, node string) error {
	r := b.reporter
	today := tokenstore.DayOf(b.options.Clock.Now())
	first := today - reportDays
	r.mu.Lock()
	loaded := r.loaded
	r.mu.Unlock()
	if loaded == today {
		return nil
	}
	wanted, err := b.ownReports(first)
	if err != nil {
		return err
	}
	var stale []string
	prefix := k.usage(node, "")
	_, err = b.engine.Snapshot(ctx, prefix, func(record Record) error {
		name := strings.TrimPrefix(record.Key, prefix)
		if !wanted[name] {
			stale = append(stale, name)
			return nil
		}
		current, err := b.usageRecord(name)
		if err == nil && b.sameReport(record, current) {
			delete(wanted, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range wanted {
		r.dirty[name] = true
	}
	for _, name := range stale {
		r.dirty[name] = true // is deleted
	}
	r.loaded = today
	return nil
}

// ownReports returns the names of all records that this node should have in the shared store,
// with the days from first on.
func (b *Backend) ownReports(first tokenstore.Day) (names map[string]bool, err error) {
	names = make(map[string]bool)
	var ids []token.ID
	if err := b.replica.OwnUsers(func(id token.ID) bool {
		ids = append(ids, id)
		return true
	}); err != nil {
		return nil, err
	}
	today := tokenstore.DayOf(b.options.Clock.Now())
	for _, id := range ids {
		b.reporter.mu.Lock()
		b.reporter.addUser(id)
		b.reporter.mu.Unlock()
		names[totalsName+shardOf(id)] = true
		usage, _, err := b.replica.Usage(id, first, today)
		if err != nil && !isDamaged(err) {
			return nil, err
		}
		for _, day := range usage.Days {
			if day.Day >= first {
				names[dayName(day.Day, shardOf(id))] = true
			}
		}
	}
	sums, err := b.replica.OwnTotals(first, today)
	for _, sum := range sums {
		names[sumName(sum.Day)] = true
	}
	return names, err
}
