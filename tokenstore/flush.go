package tokenstore

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// How many tokens' usage one transaction saves at first and at most. Between them it
// is as many as take about chunkTime, so that a change of a token never waits long
// for the backend.
const (
	firstChunk = 64
	maxChunk   = 4096
	chunkTime  = 4 * time.Millisecond
)

// dirtyList is the tokens with counts that the backend doesn't know. A token is
// in it, or in the hands of Flush, once if it is dirty, and not otherwise.
type dirtyList struct {
	mu     sync.Mutex
	tokens []*active

	flushing sync.Mutex // one flush at a time
}

// mark puts a token into the list unless it is dirty already. Mark and list change
// under one lock: whoever sees the mark can rely on the next flush.
func (l *dirtyList) mark(a *active) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !a.dirty.Swap(true) {
		l.tokens = append(l.tokens, a)
	}
}

// giveBack returns dirty tokens that were taken.
func (l *dirtyList) giveBack(tokens []*active) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(l.tokens, tokens...)
}

// take returns the list and begins a new one.
func (l *dirtyList) take() []*active {
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := l.tokens
	l.tokens = nil
	return tokens
}

// Pending is how many tokens have counts that the backend doesn't know.
func (s *Store) Pending() int {
	s.dirty.mu.Lock()
	defer s.dirty.mu.Unlock()
	return len(s.dirty.tokens)
}

// CountAllowed counts a request for a scope that the gate let through.
func (s *Store) CountAllowed(m Match, scope string, use LastUse) {
	m.active.usage.count(scope, use)
	if m.Previous {
		m.active.usage.notePrevious(use)
	}
	s.markDirty(m.active)
}

// CountDenied counts a request that was refused although its secret was right: for
// which scope, or "" if that isn't known, and with which code.
func (s *Store) CountDenied(m Match, at time.Time, scope, outcome string) {
	m.active.usage.deny(at, scope, outcome)
	s.markDirty(m.active)
}

// markDirty is called after counting: a flush that clears the mark reads the
// totals after it and so sees the count.
func (s *Store) markDirty(a *active) {
	if !a.dirty.Load() {
		s.dirty.mark(a)
	}
}

// Flush folds the usage counted so far into the backend. What can't be saved
// stays counted in memory for the next time.
func (s *Store) Flush() error {
	s.dirty.flushing.Lock()
	defer s.dirty.flushing.Unlock()
	dirty := s.dirty.take()
	if tokens := len(dirty); tokens > 0 {
		begun := time.Now()
		defer func() { s.flushed(time.Since(begun), tokens) }()
	}
	// Neighbours in the backend are saved together.
	slices.SortFunc(dirty, func(a, b *active) int { return bytes.Compare(a.id[:], b.id[:]) })
	for size := firstChunk; len(dirty) > 0; {
		chunk := dirty[:min(size, len(dirty))]
		begun := time.Now()
		err := s.save(chunk)
		switch took := time.Since(begun); {
		case took > chunkTime:
			size = max(size/2, 1)
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
		a.dirty.Store(false)
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
			s.dirty.mark(a)
			continue
		}
		a.usage.daysSaved(past[i])
		if a.usage.outliving != nil {
			a.usage.outliving.Saved(totals[i].Usage)
		}
	}
	return err
}
