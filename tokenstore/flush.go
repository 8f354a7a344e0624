package tokenstore

import (
	"fmt"
	"sync"
)

// flushChunk is how many tokens' usage one transaction saves, so that a change of
// a token never waits long for the backend.
const flushChunk = 256

// dirtyList is the tokens with counts that the backend doesn't know. A token is
// in it, or in the hands of Flush, once if its usage is dirty, and not otherwise.
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
	if !a.usage.dirty.Swap(true) {
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

// CountAllowed counts a request that the gate let through.
func (s *Store) CountAllowed(m Match, use LastUse) {
	m.active.usage.count(use)
	s.markDirty(m.active)
}

// CountDenied counts a request that was refused although its secret was right.
func (s *Store) CountDenied(m Match) {
	m.active.usage.deny()
	s.markDirty(m.active)
}

// markDirty is called after counting: a flush that clears the mark reads the
// totals after it and so sees the count.
func (s *Store) markDirty(a *active) {
	if !a.usage.dirty.Load() {
		s.dirty.mark(a)
	}
}

// Flush folds the usage counted so far into the backend. What can't be saved
// stays counted in memory for the next time.
func (s *Store) Flush() error {
	s.dirty.flushing.Lock()
	defer s.dirty.flushing.Unlock()
	for dirty := s.dirty.take(); len(dirty) > 0; {
		chunk := dirty[:min(flushChunk, len(dirty))]
		if err := s.save(chunk); err != nil {
			s.dirty.giveBack(dirty[len(chunk):])
			return fmt.Errorf("saving the usage of %d tokens: %w", len(dirty), err)
		}
		dirty = dirty[len(chunk):]
	}
	return nil
}

func (s *Store) save(chunk []*active) error {
	totals := make([]UsageOf, 0, len(chunk))
	for _, a := range chunk {
		a.usage.dirty.Store(false)
		totals = append(totals, UsageOf{ID: a.id, Usage: a.usage.totals()})
	}
	err := s.backend.SaveUsage(s.Now(), totals)
	if err != nil {
		for _, a := range chunk {
			s.dirty.mark(a)
		}
	}
	return err
}
