package tokenstore

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// The pause between flushes is between 1 and maxFlushIntervals flush intervals. Within these
// bounds, it is long enough that flushing takes at most 1/flushShare of the time. The store
// flushes earlier if the journal is half full, which is the case after at most 65,536
// requests.
const (
	defaultFlushInterval = time.Second
	maxFlushIntervals    = 15
	flushShare           = 100
)

// One transaction saves the usage of minChunk to maxChunk tokens. Within these bounds, a
// transaction saves as many tokens as it can in about chunkTime, to keep changes from waiting
// long for the backend. Smaller chunks aren't worthwhile: a transaction has a fixed cost,
// which exceeds chunkTime in a store with many free pages.
const (
	minChunk  = 512
	maxChunk  = 4096
	chunkTime = 4 * time.Millisecond
)

// flusher holds the state for saving pending usage to the backend.
type flusher struct {
	mu sync.Mutex // one flush at a time
	// state is the backend's FlushState. After an error, the actual state is unknown until it
	// has been read again.
	state   FlushState
	unknown bool
	// end is the position in this process's journal up to which entries have been saved.
	end    journal.Position
	opened bool
	// path is the path of the journal's file, or empty if there is none. id is the journal's
	// ID, which the backend stores in the FlushState. store is the identity of the backend's
	// store.
	path      string
	id, store uint64
	// replayErr is the reason an earlier process's journal can't be read, or nil. The
	// journal's entries are added as soon as it can be read.
	replayErr error
	// replayFlush is the number of the first flush that includes the earlier process's
	// entries. Only that flush or a later one may replace the old journal's ID with the new
	// one.
	replayFlush uint64

	// journalErr is the reason why counts are missing or would be lost if the process were
	// killed, or nil.
	journalErr atomic.Pointer[error]
}

// pace returns how long to wait after a flush of the given duration.
func pace(took, interval time.Duration) time.Duration {
	return min(max(flushShare*took, interval), maxFlushIntervals*interval)
}

// Pending returns the number of tokens with counts that have not been saved to the backend.
func (s *Store) Pending() int { return s.pending.tokens(s.journal) }

// CountsAtRisk returns the reason why counts are missing or would be lost if the process were
// killed now, or nil. The error is [ErrCountsUnread] if an earlier process's counts are
// missing.
func (s *Store) CountsAtRisk() error {
	if err := s.flusher.journalErr.Load(); err != nil && *err != nil {
		return *err
	}
	if s.flusher.path == "" {
		return nil
	}
	return s.journal.Problem() // checkJournal may have run long ago: a flush can be slow
}

// openJournal adds a killed process's unsaved counts and starts a new journal.
func (s *Store) openJournal(state State) error {
	f := &s.flusher
	f.state, f.path, f.store = state.Flush, s.backend.JournalPath(), state.Identity
	f.id = rand.Uint64() | 1 //nolint:gosec // distinguishes files
	s.journal = journal.New()
	s.pending = newPending(state.Flush.Flush+1, s.feeds.noteUse)
	if f.path != "" {
		if err := s.rejectOlderStore(state); err != nil {
			return err
		}
		s.journal.Mark(s.backend.Sequence())
		s.replay()
		s.checkJournal()
	}
	f.opened = true
	return nil
}

// rejectOlderStore returns an [ErrOlder] if the store is older than its journal. The journal
// records the number of the store's last change.
func (s *Store) rejectOlderStore(state State) error {
	store, mark, err := journal.Inspect(s.flusher.path)
	if err != nil || store == 0 || store != state.Identity || mark <= s.backend.Sequence() {
		return nil //nolint:nilerr // replay reports it
	}
	return fmt.Errorf(
		"%w: the journal %s has recorded change %d, but the last change in the store is %d; "+
			"restore a backup with caddy api-token restore, or put back the newer store; "+
			"to continue with the older one, in which revoked tokens may be valid, remove the journal",
		ErrOlder, s.flusher.path, mark, s.backend.Sequence())
}

// replay adds a killed process's unsaved counts. The caller must hold flusher.mu, unless the
// store isn't open yet.
func (s *Store) replay() {
	f := &s.flusher
	var unsaved [][]byte
	damaged, err := journal.Replay(f.path, f.state.Journal, f.state.Saved, func(ring int, at uint64, entry []byte) {
		if e, ok := parseJournalEntry(entry); ok && f.state.replays(ring, at, e.id) {
			unsaved = append(unsaved, entry)
		}
	})
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, journal.ErrOther):
		s.logger.Warn("ignoring the usage journal next to the token store: it belongs to another store",
			zap.Error(err))
	default:
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: make it readable by the user that Caddy runs as (chown %d %s); "+
				"Caddy then adds its counts", err, os.Geteuid(), f.path)
		}
		f.replayErr, f.replayFlush = fmt.Errorf("%w: %w", ErrCountsUnread, err), math.MaxUint64
		return
	}
	if damaged > 0 {
		s.logger.Warn("the usage journal was damaged; some of the last counts before Caddy was killed were lost",
			zap.Int("entries", damaged))
	}
	f.replayErr, f.replayFlush = nil, s.pending.addAll(unsaved)
	if len(unsaved) > 0 {
		s.index.forgetQuotas() // the quota states don't include the replayed counts
	}
}

// checkJournal makes sure that counts would survive if the process were killed, and sets
// journalErr if they wouldn't.
func (s *Store) checkJournal() {
	f := &s.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return
	}
	if f.replayErr != nil {
		s.replay()
	}
	err := f.replayErr
	if err == nil {
		err = s.renewJournal()
	}
	f.journalErr.Store(&err)
}

// renewJournal creates a new journal file if there is none or the current one has a problem.
// It first saves an earlier process's counts and the new file's ID.
func (s *Store) renewJournal() error {
	f := &s.flusher
	problem := s.journal.Problem()
	if problem == nil {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	if f.state.Journal != f.id {
		state := f.state
		state.Journal, state.Saved, state.Part, state.Last = f.id, f.end, f.end, token.ID{}
		if err := s.saveUsage(state, func(func(token.ID, Usage) bool) {}); err != nil {
			return err
		}
	}
	if s.journal.Problem() == nil { // the journal was full, and the flush made space
		return nil
	}
	if err := s.journal.Keep(f.path, f.id, f.store); err != nil {
		return err
	}
	if f.opened {
		s.logger.Warn("the usage journal was recreated; no counts were lost", zap.NamedError("reason", problem))
	}
	return nil
}

// Flush saves the usage counted so far. If saving fails, the usage stays pending for the next
// flush.
func (s *Store) Flush() error {
	s.flusher.mu.Lock()
	defer s.flusher.mu.Unlock()
	return s.flush()
}

// flush is like Flush, but the caller must hold flusher.mu.
func (s *Store) flush() error {
	for more := true; more; {
		var b *batch
		if b, more = s.pending.nextBatch(s.journal); b == nil {
			return nil
		}
		start := time.Now()
		err := s.saveBatch(b)
		s.flushed(time.Since(start), len(b.uses))
		if err != nil {
			return fmt.Errorf("saving the usage of %d tokens: %w", len(b.uses), err)
		}
		s.flusher.end = b.end
		s.pending.saved()
		s.journal.Saved(b.end)
	}
	return nil
}

// flushInBackground flushes, logs when flushing starts or stops failing, and returns how long
// to wait before the next flush.
func (s *Store) flushInBackground(flushFails, countsAtRisk *condition, interval time.Duration) time.Duration {
	start := time.Now()
	err := s.Flush()
	took := time.Since(start)
	switch flushFails.update(err != nil) {
	case conditionBegan:
		s.logger.Error("saving token usage failed; keeping it in memory until the store can be written again",
			zap.Error(err))
	case conditionEnded:
		s.logger.Info("token usage is being saved again")
	}
	_ = s.settleChanges() // the failed changes already reported the error
	s.probeWrite()
	s.checkJournal()
	s.logJournal(countsAtRisk)
	return pace(took, interval)
}

// logJournal logs when counts become at risk and when they are safe again.
func (s *Store) logJournal(countsAtRisk *condition) {
	err := s.CountsAtRisk()
	switch countsAtRisk.update(err != nil) {
	case conditionBegan:
		if errors.Is(err, ErrCountsUnread) {
			s.logger.Error(
				"the usage journal of an earlier process can't be read; "+
					"its counts are missing from totals and quotas until it can be read", zap.Error(err))
			break
		}
		s.logger.Error("unsaved token usage would be lost if the process were killed; will retry",
			zap.Error(err))
	case conditionEnded:
		s.logger.Info("unsaved token usage is protected by the usage journal again")
	}
}

// saveBatch saves a batch, or the part that has not been saved yet.
func (s *Store) saveBatch(b *batch) error {
	f := &s.flusher
	if f.unknown {
		stored, err := s.backend.State()
		if err != nil {
			return err
		}
		f.state, f.unknown = stored.Flush, false
	}
	end := f.state
	end.Flush, end.Whole = b.flush, true
	chunk := minChunk
	if b.flush >= f.replayFlush {
		end.Journal, end.Saved, end.Part, end.Last = f.id, b.end, b.end, token.ID{}
	}
	if f.state.Journal != f.id {
		chunk = len(b.uses) // the parts of a flush must all use the same journal
	}
	uses := slices.DeleteFunc(b.ids(), func(id token.ID) bool { return f.state.includes(b.flush, id) })
	for len(uses) > 0 {
		part := uses[:min(chunk, len(uses))]
		uses = uses[len(part):]
		state := end
		if len(uses) > 0 {
			state = f.state
			state.Flush, state.Whole, state.Part, state.Last = b.flush, false, b.end, part[len(part)-1]
		}
		start := time.Now()
		if err := s.saveUsage(state, s.pending.usages(b, part, hoursSince(s.elapsedNow()))); err != nil {
			return err
		}
		switch took := time.Since(start); {
		case took > chunkTime:
			chunk = max(chunk/2, minChunk)
		case took < chunkTime/2:
			chunk = min(chunk*2, maxChunk)
		}
	}
	return nil
}

// saveUsage saves usage differences and the state that includes them. While the store is being
// opened, it doesn't record the time: the clock may be wrong, and nothing depends on it yet.
func (s *Store) saveUsage(state FlushState, came iter.Seq2[token.ID, Usage]) error {
	f := &s.flusher
	var now time.Time
	if f.opened {
		now = s.Now()
	}
	if err := s.backend.SaveUsage(now, state, came); err != nil {
		f.unknown = true
		return err
	}
	f.state = state
	s.written()
	return nil
}
