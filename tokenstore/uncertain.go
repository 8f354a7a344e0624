package tokenstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
)

// uncertain are the tokens with a change that could not be written, or perhaps could: the
// disk failed when it was asked to keep it. Until the next change is written, which makes
// earlier ones certain, memory holds the narrower of the two states, and no answer shows
// what the backend has. The zero value is ready for use.
type uncertain struct {
	n      atomic.Int64
	mu     sync.Mutex
	tokens map[token.ID]failedChange
}

// failedChange is the last change of an uncertain token.
type failedChange struct {
	// sequence is the number of the newest change that had been written then.
	sequence uint64
	cause    error
	// kept is the state that memory holds until then, or nil if the token is refused.
	kept *token.Token
}

// add notes a change that failed, and returns the state that memory is to hold. After
// several failed changes it is the narrowest of all states.
func (u *uncertain) add(id token.ID, failed failedChange, now time.Time) (kept *token.Token) {
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

// check returns an ErrUnavailable if the token is uncertain.
func (u *uncertain) check(id token.ID) error {
	if u.n.Load() == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if failed, found := u.tokens[id]; found {
		return fmt.Errorf(
			"%w: the last change of this token could not be written; whether it is in force is known when the store can be written again: %w", ErrUnavailable, failed.cause)
	}
	return nil
}

// take removes and returns the tokens that have become certain with a change.
func (u *uncertain) take(sequence uint64) (ids []token.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, failed := range u.tokens {
		if failed.sequence < sequence {
			ids = append(ids, id)
		}
	}
	return ids
}

func (u *uncertain) remove(id token.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.tokens, id)
	u.n.Store(int64(len(u.tokens)))
}

// outcomeUnknown reports whether a change may be in the backend although it failed.
func outcomeUnknown(err error) bool {
	_, ended := errors.AsType[*EndedError](err)
	return !ended && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrRepeated) && !errors.Is(err, ErrClosed) &&
		!errors.Is(err, token.ErrDamaged)
}

// keepNarrower lets memory hold the narrower of two states of a token, or neither if none
// is: then its secrets are refused as unavailable. The id's lock is held.
func (s *Store) keepNarrower(id token.ID, before, after *token.Token, now time.Time, cause error) {
	kept := s.uncertain.add(id, failedChange{s.backend.Sequence(), cause, token.Narrower(before, after, now)}, now)
	if kept != nil {
		s.activate(kept)
	} else if number := s.index.byID(id); number != 0 {
		s.index.unload(number)
	}
}

// written notes that a change was written.
func (s *Store) written() {
	sequence := s.backend.Sequence()
	s.journal.Mark(sequence)
	if s.uncertain.n.Load() == 0 {
		return
	}
	for _, id := range s.uncertain.take(sequence) {
		s.becomeCertain(id)
	}
}

// becomeCertain lets memory hold what the backend has of a token.
func (s *Store) becomeCertain(id token.ID) {
	defer s.index.locks.lock(id)()
	if number := s.index.byID(id); number != 0 {
		s.reload(id, number)
	}
	s.uncertain.remove(id)
}

// probe writes something if the last write failed, so that health tells how it is now.
func (s *Store) probe() {
	if s.backend.Health().Write != nil {
		_ = s.setTimes(State{Elapsed: s.passed.at()}, nil) // health has the error
	}
}

// settleChanges makes all changes certain that are not, by writing something. It returns
// an error if that fails.
func (s *Store) settleChanges() error {
	if s.uncertain.n.Load() == 0 {
		return nil
	}
	return s.setTimes(State{Elapsed: s.passed.at()}, nil)
}

// setTimes is [Backend.SetTimes].
func (s *Store) setTimes(times State, entry *AuditEntry) error {
	if err := s.backend.SetTimes(times, entry); err != nil {
		return err
	}
	s.written()
	return nil
}
