package tokenstore

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How many tokens' usage one transaction saves at least and at most. Between them it
// is as many as take about chunkTime, so that a change of a token never waits long
// for the backend. Not fewer: a transaction has a price of its own, which in a store
// with many free pages is more than chunkTime.
const (
	minChunk  = 512
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

// phaseOf returns a token's phase. It is by the first character of the id: those that
// are saved together lie together in the backend.
func phaseOf(id ID) int {
	return max(strings.IndexByte(base62, id[0]), 0) * latePhases / len(base62)
}

// dirtyList is the tokens with counts that the backend doesn't know. A token that is
// dirty is in it, or in the hands of Flush; one that has been saved meanwhile may be.
type dirtyList struct {
	mu      sync.Mutex
	soon    []uint32
	late    [latePhases][]uint32
	phase   int
	pending atomic.Int64 // how many tokens are dirty

	flushing sync.Mutex // one flush at a time
}

// mark puts a token into the list unless it is as dirty already. Mark and list change
// under one lock: whoever sees the mark can rely on the next flush.
func (l *dirtyList) mark(number uint32, r *record, how uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.dirty.Load() >= how {
		return
	}
	if r.dirty.Swap(how) == clean {
		l.pending.Add(1)
	}
	if how == dirtySoon {
		l.soon = append(l.soon, number)
		return
	}
	phase := phaseOf(r.tokenID())
	l.late[phase] = append(l.late[phase], number)
}

// clean takes a token's mark away, before its counts are read.
func (l *dirtyList) clean(r *record) {
	if r.dirty.Swap(clean) != clean {
		l.pending.Add(-1)
	}
}

// giveBack returns dirty tokens that were taken.
func (l *dirtyList) giveBack(tokens []dirtyToken) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, token := range tokens {
		l.soon = append(l.soon, token.number)
	}
}

// dirtyToken is one whose turn it is.
type dirtyToken struct {
	id     ID
	number uint32
}

// take returns the tokens whose turn it is, or all, once each and in the order of
// their ids: neighbours in the backend are saved together.
func (l *dirtyList) take(records *slab, all bool) []dirtyToken {
	l.mu.Lock()
	numbers := l.soon
	l.soon = nil
	l.phase = (l.phase + 1) % latePhases
	for phase := range l.late {
		if all || phase == l.phase {
			numbers = append(numbers, l.late[phase]...)
			l.late[phase] = nil
		}
	}
	l.mu.Unlock()
	tokens := make([]dirtyToken, 0, len(numbers))
	for _, number := range numbers {
		if r := records.at(number); r.dirty.Load() != clean {
			tokens = append(tokens, dirtyToken{r.tokenID(), number})
		}
	}
	slices.SortFunc(tokens, func(a, b dirtyToken) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.number, b.number))
	})
	return slices.Compact(tokens)
}

// Pending is how many tokens have counts that the backend doesn't know.
func (s *Store) Pending() int { return int(s.dirty.pending.Load()) }

// CountsAtRisk returns why counts are missing, or would be lost if the process were
// killed now. It is an [ErrCountsUnread] if those of an earlier process are missing.
func (s *Store) CountsAtRisk() error {
	if err := s.atRisk.Load(); err != nil {
		return *err
	}
	return nil
}

// markDirty is called after counting: a flush that clears the mark reads the
// totals after it and so sees the count.
func (s *Store) markDirty(number uint32, r *record, settled bool) {
	how := dirtySoon
	if settled && !s.mortal.Load() {
		how = dirtyLate
	}
	if r.dirty.Load() < how {
		s.dirty.mark(number, r, how)
	}
}

// Flush folds the usage counted so far into the backend. What can't be saved
// stays counted in memory for the next time.
func (s *Store) Flush() error { return s.flush(true) }

// flush folds all usage into the backend, or that whose turn it is.
func (s *Store) flush(all bool) error {
	s.dirty.flushing.Lock()
	defer s.dirty.flushing.Unlock()
	dirty := s.dirty.take(&s.index.records, all)
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

func (s *Store) save(chunk []dirtyToken) error {
	now, hours := s.Now(), hoursSince(s.passedNow())
	counted, usage := make([]countedUsage, len(chunk)), make([]UsageOf, len(chunk))
	for i, token := range chunk {
		s.dirty.clean(s.index.records.at(token.number))
		u := s.index.counted(token.number)
		for j := range len(u.Days) - 1 { // a token may be used again after weeks
			if u.Days[j].Day < hours {
				u.Days[j] = u.Days[j].AsWhole()
			}
		}
		counted[i], usage[i] = u, u.UsageOf
	}
	err := s.backend.SaveUsage(now, usage)
	for i, token := range chunk {
		r := s.index.records.at(token.number)
		if err != nil {
			s.dirty.mark(token.number, r, dirtySoon)
			continue
		}
		s.index.saved(token.number, &counted[i])
		if slot := r.slot.Load(); slot != 0 && r.tokenID() == counted[i].ID {
			s.counters.Saved(slot, counted[i].Usage)
		}
	}
	return err
}
