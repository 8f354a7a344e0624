package tokenstore

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How many tokens' usage one transaction saves at least and at most. Between them it
// is as many as take about chunkTime, so that a change of a token never waits long
// for the backend. Not fewer: a transaction has a price of its own, which in a store
// with many free pages is more than chunkTime.
const (
	minChunk  = 64
	maxChunk  = 4096
	chunkTime = 4 * time.Millisecond
)

// How soon the counts of a token have to be saved.
const (
	clean uint32 = iota
	// dirtyLate: what isn't saved outlives the process, and the rest of it is known: it
	// is more of what was saved last, with the last use. See [UsageOf.Beyond].
	dirtyLate
	// dirtySoon: a killed process would lose some of it.
	dirtySoon
)

// latePhases is in how many flushes each token that is dirtyLate is saved once. Each
// token has its own phase, so that none has more to do than another.
const latePhases = 15

// dirtyList is the tokens with counts that the backend doesn't know. A token that is
// dirty is in it, or in the hands of Flush; one that has been saved meanwhile may be.
type dirtyList struct {
	mu      sync.Mutex
	soon    []*active
	late    [latePhases][]*active
	phase   int
	pending atomic.Int64 // how many tokens are dirty

	flushing sync.Mutex // one flush at a time
}

// mark puts a token into the list unless it is as dirty already. Mark and list change
// under one lock: whoever sees the mark can rely on the next flush.
func (l *dirtyList) mark(a *active, how uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.dirty.Load() >= how {
		return
	}
	if a.dirty.Swap(how) == clean {
		l.pending.Add(1)
	}
	if how == dirtySoon {
		l.soon = append(l.soon, a)
		return
	}
	phase := (int(a.id[0]) + int(a.id[1])) % latePhases
	l.late[phase] = append(l.late[phase], a)
}

// clean takes a token's mark away, before its counts are read.
func (l *dirtyList) clean(a *active) {
	if a.dirty.Swap(clean) != clean {
		l.pending.Add(-1)
	}
}

// giveBack returns dirty tokens that were taken.
func (l *dirtyList) giveBack(tokens []*active) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.soon = append(l.soon, tokens...)
}

// take returns the tokens whose turn it is, or all, once each and in the order of
// their ids: neighbours in the backend are saved together.
func (l *dirtyList) take(all bool) []*active {
	l.mu.Lock()
	tokens := l.soon
	l.soon = nil
	l.phase = (l.phase + 1) % latePhases
	for phase := range l.late {
		if all || phase == l.phase {
			tokens = append(tokens, l.late[phase]...)
			l.late[phase] = nil
		}
	}
	l.mu.Unlock()
	tokens = slices.DeleteFunc(tokens, func(a *active) bool { return a.dirty.Load() == clean })
	slices.SortFunc(tokens, func(a, b *active) int { return bytes.Compare(a.id[:], b.id[:]) })
	return slices.Compact(tokens)
}

// Pending is how many tokens have counts that the backend doesn't know.
func (s *Store) Pending() int { return int(s.dirty.pending.Load()) }

// CountAllowed counts a request for a scope that the gate let through.
func (s *Store) CountAllowed(m Match, scope string, use LastUse) {
	settled := m.active.usage.count(scope, use)
	if m.Previous && m.active.usage.notePrevious(use) {
		settled = false
	}
	how := dirtySoon
	if settled && !s.mortal.Load() {
		how = dirtyLate
	}
	s.markDirty(m.active, how)
}

// CountDenied counts a request that was refused although its secret was right: for
// which scope, or "" if that isn't known, and with which code.
func (s *Store) CountDenied(m Match, at time.Time, scope, outcome string) {
	m.active.usage.deny(at, scope, outcome)
	s.markDirty(m.active, dirtySoon)
	s.tellUsed(m, at)
}

// markDirty is called after counting: a flush that clears the mark reads the
// totals after it and so sees the count.
func (s *Store) markDirty(a *active, how uint32) {
	if a.dirty.Load() < how {
		s.dirty.mark(a, how)
	}
}

// Flush folds the usage counted so far into the backend. What can't be saved
// stays counted in memory for the next time.
func (s *Store) Flush() error { return s.flush(true) }

// flush folds all usage into the backend, or that whose turn it is.
func (s *Store) flush(all bool) error {
	s.dirty.flushing.Lock()
	defer s.dirty.flushing.Unlock()
	dirty := s.dirty.take(all)
	if tokens := len(dirty); tokens > 0 {
		begun := time.Now()
		defer func() { s.flushed(time.Since(begun), tokens) }()
	}
	for size := minChunk; len(dirty) > 0; {
		chunk := dirty[:min(size, len(dirty))]
		begun := time.Now()
		err := s.save(chunk)
		switch took := time.Since(begun); {
		case took > chunkTime:
			size = max(size/2, minChunk)
		case took < chunkTime/2:
			size = min(size*2, maxChunk)
		}
		if err != nil {
			s.dirty.giveBack(dirty[len(chunk):])
			return fmt.Errorf("saving the usage of %d tokens: %w", len(dirty), err)
		}
		dirty = dirty[len(chunk):]
	}
	return nil
}

func (s *Store) save(chunk []*active) error {
	now := s.Now()
	totals, past := make([]UsageOf, 0, len(chunk)), make([][]*dayCounts, len(chunk))
	for i, a := range chunk {
		s.dirty.clean(a)
		u := UsageOf{ID: a.id, Usage: a.usage.totals(), Previous: a.usage.lastPrevious()}
		u.Days, past[i] = a.usage.days()
		for j := range past[i] { // a token may be used again after weeks
			if u.Days[j].Day < hoursSince(now) {
				u.Days[j] = u.Days[j].AsWhole()
			}
		}
		totals = append(totals, u)
	}
	err := s.backend.SaveUsage(now, totals)
	for i, a := range chunk {
		if err != nil {
			s.dirty.mark(a, dirtySoon)
			continue
		}
		a.usage.daysSaved(past[i])
		if a.usage.outliving != nil {
			a.usage.outliving.Saved(totals[i].Usage)
		}
	}
	return err
}
