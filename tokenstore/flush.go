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

// How long the store waits between two flushes: so long that flushes take at most a
// hundredth of the time, but from one to fifteen times the flush interval. A flush comes
// earlier when the journal is half full, which is at most 65,536 requests.
const (
	defaultFlushInterval = time.Second
	maxFlushIntervals    = 15
	flushShare           = 100
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

// flusher saves what was counted.
type flusher struct {
	mu sync.Mutex // one flush at a time
	// state is what the backend has. After an error the outcome is unknown until it is
	// read again.
	state   FlushState
	unknown bool
	// end is how far this process's journal is saved.
	end    journal.Position
	opened bool
	// path is the journal's file, or empty; id is what the backend stores for it, and store
	// the identity of the backend's store.
	path      string
	id, store uint64
	// unread is why the file that an earlier process left can't be read, or nil. Its
	// entries are added as soon as they can be.
	unread error
	// renews is the number of the first flush that includes the entries of the earlier
	// process. Only then the new journal's id may take the place of the old one's.
	renews uint64

	atRisk atomic.Pointer[error]
}

// pace returns when to flush next after a flush that took so long.
func pace(took, interval time.Duration) time.Duration {
	return min(max(flushShare*took, interval), maxFlushIntervals*interval)
}

// Pending is how many tokens have counts that the backend doesn't have.
func (s *Store) Pending() int { return s.pending.tokens(s.journal) }

// CountsAtRisk returns why counts are missing, or would be lost if the process were
// killed now. It is an [ErrCountsUnread] if the counts of an earlier process are missing.
func (s *Store) CountsAtRisk() error {
	if err := s.flusher.atRisk.Load(); err != nil && *err != nil {
		return *err
	}
	if s.flusher.path == "" {
		return nil
	}
	return s.journal.Problem() // which tend may not have seen: a flush may take long
}

// openJournal adds what a killed process counted and did not save, and begins a journal.
func (s *Store) openJournal(state State) error {
	f := &s.flusher
	f.state, f.path, f.id, f.store = state.Flush, s.backend.JournalPath(), rand.Uint64()|1, state.Identity //nolint:gosec // distinguishes files
	s.journal = journal.New()
	s.pending = newPending(state.Flush.Flush + 1)
	if f.path != "" {
		if err := s.checkJournal(state); err != nil {
			return err
		}
		s.journal.Mark(s.backend.Sequence())
		s.replay()
		s.tend()
	}
	f.opened = true
	return nil
}

// checkJournal returns an [ErrOlder] if the store is older than its journal: the journal
// has the number of the last change.
func (s *Store) checkJournal(state State) error {
	store, mark, err := journal.Inspect(s.flusher.path)
	if err != nil || store == 0 || store != state.Identity || mark <= s.backend.Sequence() {
		return nil //nolint:nilerr // replay reports it
	}
	return fmt.Errorf(
		"%w: the journal %s has seen change %d, and the store ends at change %d; restore a backup with caddy api-token restore, or put the newer store back; to go on with the older one, in which revoked tokens may be valid, remove the journal",
		ErrOlder, s.flusher.path, mark, s.backend.Sequence())
}

// replay adds what a killed process counted and did not save. The lock is held, or the
// store isn't open yet.
func (s *Store) replay() {
	f := &s.flusher
	var unsaved [][]byte
	damaged, err := journal.Replay(f.path, f.state.Journal, f.state.Saved, func(ring int, at uint64, entry []byte) {
		if e, ok := decodeCounted(entry); ok && f.state.replays(ring, at, e.id) {
			unsaved = append(unsaved, entry)
		}
	})
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, journal.ErrOther):
		s.logger.Warn("ignoring the usage journal next to the token store: it is not the journal of this store",
			zap.Error(err))
	default:
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: give it to the user that Caddy runs as (chown %d %s), and Caddy adds what it holds",
				err, os.Geteuid(), f.path)
		}
		f.unread, f.renews = fmt.Errorf("%w: %w", ErrCountsUnread, err), math.MaxUint64
		return
	}
	if damaged > 0 {
		s.logger.Warn("the usage journal was damaged; some of the last counts before Caddy was killed are lost",
			zap.Int("entries", damaged))
	}
	f.unread, f.renews = nil, s.pending.addAll(unsaved)
	if len(unsaved) > 0 {
		s.index.forgetQuotas() // which lack these
	}
}

// tend makes sure that counts survive the process, and notes why they would not.
func (s *Store) tend() {
	f := &s.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return
	}
	if f.unread != nil {
		s.replay()
	}
	err := f.unread
	if err == nil {
		err = s.renewJournal()
	}
	f.atRisk.Store(&err)
}

// renewJournal begins a new file for the journal if there is none, or something is wrong
// with it. What an earlier process left, and the new file's id, are saved before that.
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
	if s.journal.Problem() == nil { // it was full of entries that could not be saved
		return nil
	}
	if err := s.journal.Keep(f.path, f.id, f.store); err != nil {
		return err
	}
	if f.opened {
		s.logger.Warn("the usage journal was created anew; no counts are lost", zap.NamedError("reason", problem))
	}
	return nil
}

// Flush saves the usage counted so far. What can't be saved stays counted for the next
// time.
func (s *Store) Flush() error {
	s.flusher.mu.Lock()
	defer s.flusher.mu.Unlock()
	return s.flush()
}

// flush is Flush with the lock held.
func (s *Store) flush() error {
	for more := true; more; {
		var b *batch
		if b, more = s.pending.cut(s.journal); b == nil {
			return nil
		}
		begun := time.Now()
		err := s.saveBatch(b)
		s.flushed(time.Since(begun), len(b.uses))
		if err != nil {
			return fmt.Errorf("saving the usage of %d tokens: %w", len(b.uses), err)
		}
		s.flusher.end = b.end
		s.pending.saved()
		s.journal.Saved(b.end)
	}
	return nil
}

// flushInBackground flushes, logs what changes, and returns when to flush next.
func (s *Store) flushInBackground(flushing, atRisk *trouble, interval time.Duration) time.Duration {
	begun := time.Now()
	err := s.Flush()
	took := time.Since(begun)
	switch flushing.changed(err != nil) {
	case troubleBegan:
		s.logger.Error("saving token usage failed; it stays counted in memory until the store can be written again",
			zap.Error(err))
	case troubleEnded:
		s.logger.Info("token usage is being saved again")
	}
	_ = s.settleChanges() // logged by the changes that failed
	s.probe()
	s.tend()
	s.logRisk(atRisk)
	return pace(took, interval)
}

// logRisk logs when a kill would begin to lose counts, and when it no longer would.
func (s *Store) logRisk(atRisk *trouble) {
	err := s.CountsAtRisk()
	switch atRisk.changed(err != nil) {
	case troubleBegan:
		if errors.Is(err, ErrCountsUnread) {
			s.logger.Error(
				"the usage journal of an earlier process can't be read; its counts are missing, also in quotas, until it can", zap.Error(err))
			break
		}
		s.logger.Error("token usage that is not saved yet would be lost if the process were killed; will retry",
			zap.Error(err))
	case troubleEnded:
		s.logger.Info("token usage survives the process again")
	}
}

// saveBatch saves a batch, or the rest of it.
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
	if b.flush >= f.renews {
		end.Journal, end.Saved, end.Part, end.Last = f.id, b.end, b.end, token.ID{}
	}
	if f.state.Journal != f.id {
		chunk = len(b.uses) // parts are of one journal
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
		begun := time.Now()
		if err := s.saveUsage(state, s.pending.usages(b, part, hoursSince(s.passedNow()))); err != nil {
			return err
		}
		switch took := time.Since(begun); {
		case took > chunkTime:
			chunk = max(chunk/2, minChunk)
		case took < chunkTime/2:
			chunk = min(chunk*2, maxChunk)
		}
	}
	return nil
}

// saveUsage saves what came to tokens, and the state that includes it. Opening a store records
// no time: the clock may be wrong, and nothing has been done by it.
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
