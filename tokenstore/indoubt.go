package tokenstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
)

// inDoubt holds the tokens whose last change is in doubt: the write failed, but the change may
// still be on disk. The next successful write settles it. Until then, memory holds the
// narrower of the states before and after the change, and the store doesn't return the
// backend's state. The zero value is ready to use.
type inDoubt struct {
	n      atomic.Int64
	mu     sync.Mutex
	tokens map[token.ID]failedChange
}

// failedChange is a change whose outcome is unknown.
type failedChange struct {
	// sequence is the number of the last change written before this one.
	sequence uint64
	cause    error
	// kept is the state in memory until the outcome is known, or nil if the token is refused.
	kept *token.Token
}

// add adds a failed change and returns the state to hold in memory. After several failed
// changes to a token, this is the narrowest of all its possible states.
func (u *inDoubt) add(id token.ID, failed failedChange, now time.Time) (kept *token.Token) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tokens == nil {
		u.tokens = make(map[token.ID]failedChange)
	}
	if earlier, found := u.tokens[id]; found {
		if earlier.kept == nil || failed.kept == nil {
			failed.kept = nil
		} else {
			failed.kept = token.Narrower(earlier.kept, failed.kept, now)
		}
	}
	u.tokens[id] = failed
	u.n.Store(int64(len(u.tokens)))
	return failed.kept
}

// check returns an ErrUnavailable if the token is in doubt.
func (u *inDoubt) check(id token.ID) error {
	if u.n.Load() == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if failed, found := u.tokens[id]; found {
		return fmt.Errorf(
			"%w: writing the last change to this token failed; "+
				"whether it took effect will be known when the store can be written again: %w",
			ErrUnavailable, failed.cause)
	}
	return nil
}

// settledBy returns the tokens whose failed changes are settled once the change with the given
// number has been written.
func (u *inDoubt) settledBy(sequence uint64) (ids []token.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, failed := range u.tokens {
		if failed.sequence < sequence {
			ids = append(ids, id)
		}
	}
	return ids
}

func (u *inDoubt) remove(id token.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.tokens, id)
	u.n.Store(int64(len(u.tokens)))
}

// outcomeUnknown reports whether the backend may have stored a change that failed with err.
func outcomeUnknown(err error) bool {
	_, ended := errors.AsType[*EndedError](err)
	return !ended && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrRepeated) && !errors.Is(err, ErrClosed) &&
		!errors.Is(err, token.ErrDamaged)
}

// holdInDoubt adds a failed change and sets the token in memory to the narrower of the two
// states. If neither is narrower, it removes the token from memory, and the token's secrets
// are refused as unavailable. The caller must hold the ID's lock.
func (s *Store) holdInDoubt(id token.ID, before, after *token.Token, now time.Time, cause error) {
	kept := s.inDoubt.add(id, failedChange{s.backend.Sequence(), cause, token.Narrower(before, after, now)}, now)
	if kept != nil {
		s.activate(kept)
	} else if number := s.index.byID(id); number != 0 {
		s.index.unload(number)
	}
}

// written must be called after each successful write.
func (s *Store) written() {
	sequence := s.backend.Sequence()
	s.journal.Mark(sequence)
	if s.inDoubt.n.Load() == 0 {
		return
	}
	for _, id := range s.inDoubt.settledBy(sequence) {
		s.settle(id)
	}
}

// settle updates a token in memory from the backend and removes it from inDoubt.
func (s *Store) settle(id token.ID) {
	defer s.index.locks.lock(id)()
	if number := s.index.byID(id); number != 0 {
		s.reload(id, number)
	}
	s.inDoubt.remove(id)
}

// probeWrite writes to the store if the last write failed, to bring Health up to date.
func (s *Store) probeWrite() {
	if s.backend.Health().Write != nil {
		_ = s.setTimes(State{Elapsed: s.elapsed.at()}, nil) // Health reports the error
	}
}

// settleChanges settles all changes in doubt by writing to the store. It returns an error if
// the write fails.
func (s *Store) settleChanges() error {
	if s.inDoubt.n.Load() == 0 {
		return nil
	}
	return s.setTimes(State{Elapsed: s.elapsed.at()}, nil)
}

// setTimes calls [Backend.SetTimes] and then written.
func (s *Store) setTimes(times State, entry *AuditEntry) error {
	if err := s.backend.SetTimes(times, entry); err != nil {
		return err
	}
	s.written()
	return nil
}
