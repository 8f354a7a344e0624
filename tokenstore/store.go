package tokenstore

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// Options configure a [Store]. The zero value is valid.
type Options struct {
	// Clock defaults to [SystemClock].
	Clock Clock
	// Elapsed returns how long the process has run, independently of the clock. It defaults to
	// the machine's monotonic time.
	Elapsed func() time.Duration
	// Logger defaults to a logger that discards everything.
	Logger *zap.Logger
	// Random defaults to the system's CSPRNG.
	Random io.Reader
	// FlushInterval is the minimum time between two flushes of pending usage. If flushes are
	// slow, the store waits up to fifteen times as long. Zero means one second. If
	// FlushInterval is negative, the store flushes only in Close and Flush and deletes nothing
	// in the background.
	FlushInterval time.Duration
	// If Flushed isn't nil, it is called after each attempt to save usage, including attempts
	// made by Close. It receives the attempt's duration and number of tokens.
	Flushed func(took time.Duration, tokens int)
	// If Events isn't nil, it is called for each event, on the goroutine that caused the
	// event. It must not block.
	Events func(Event)
}

const (
	// pruneInterval is how often expired audit entries, requests and history are deleted.
	pruneInterval = time.Hour
	// pruneAgain is the pause between batches of deletions. Batches are kept small so that
	// changes don't have to wait for them.
	pruneAgain = 100 * time.Millisecond
	// noticeInterval is how often the store checks for expiring tokens.
	noticeInterval = time.Minute
	// staleInterval is how often the store checks whether a copy of shared tokens is still stale.
	staleInterval = time.Second
)

// Store manages all tokens in one backend.
type Store struct {
	backend Backend
	// shared is the backend if other processes change its tokens, and nil otherwise.
	shared Shared
	clock  Clock
	logger *zap.Logger
	random io.Reader
	index  index
	// journal receives all counts. pending holds the counts read from the journal but not yet
	// saved.
	journal *journal.Journal
	pending *pending
	flusher flusher

	flushed func(took time.Duration, tokens int)
	publish func(Event)

	auditRetention atomic.Pointer[token.Lifetime]
	historyDays    atomic.Int64 // 0 means DefaultHistory

	// newest is the latest time that the store has seen, in microseconds since 1970. Now never
	// returns an earlier second.
	newest  atomic.Int64
	elapsed elapsedClock

	inDoubt inDoubt
	// repairs is the number of backend repairs already logged. damaged is the number of
	// damaged tokens.
	repairs int
	damaged atomic.Int64
	watches watchLists
	feeds   feeds
	changes atomic.Uint64 // number of changes since Open
	// backups is the number of open backups.
	backups atomic.Int32

	values     MemoryValues // unless the store is shared
	allotments allotments   // if the store is shared

	usedAfterRevoke usedAfterRevoke
	// announced is the time of the last check for expiring tokens. Only maintain uses it.
	announced time.Time

	closed   atomic.Bool
	closing  sync.Once
	closeErr error
	stop     chan struct{}
	stopped  chan struct{}
}

// Open returns a store that uses the backend. Closing the store closes the backend. If Open
// returns an error, the caller must close the backend.
func Open(backend Backend, options Options) (*Store, error) {
	s := &Store{
		backend: backend,
		clock:   options.Clock,
		logger:  options.Logger,
		random:  options.Random,

		flushed: options.Flushed,
		publish: options.Events,
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if s.clock == nil {
		s.clock = SystemClock{}
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	if s.flushed == nil {
		s.flushed = func(time.Duration, int) {}
	}
	if s.publish == nil {
		s.publish = func(Event) {}
	}
	state, err := backend.State()
	if err != nil {
		return nil, fmt.Errorf("reading the token store's state: %w", err)
	}
	s.newest.Store(state.Recorded.UnixMicro())
	s.openElapsed(state.Elapsed, options.Elapsed)
	if err := s.openJournal(state); err != nil {
		return nil, err
	}
	s.logRepairs()
	if s.shared, _ = backend.(Shared); s.shared != nil {
		s.shared.Follow(follower{s})
	}
	interval := options.FlushInterval
	if interval == 0 {
		interval = defaultFlushInterval
	}
	go s.maintain(interval)
	return s, nil
}

// Close saves the remaining usage and closes the backend. Later calls fail with [ErrClosed],
// and requests counted after Close are lost. Closing a closed store has no effect.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		close(s.stop)
		<-s.stopped
		s.giveBack(s.takeUnused(true), time.Now().Add(giveBackTimeout))
		s.closeErr = errors.Join(s.Flush(), s.setTimes(State{Elapsed: s.elapsed.at()}, nil), s.journal.Close(),
			s.backend.Close())
	})
	return s.closeErr
}

// Match describes the token that a presented secret belongs to.
type Match struct {
	// Token is the part of the token that requests need, as of the time of the match.
	Token Principal
	// Digest is the digest of the presented secret.
	Digest token.Digest
	// previousUntil is when the secret stops being valid if Previous is set, in seconds; see
	// secondsOf.
	previousUntil int64
	// Previous is set if the last rotation replaced the secret. The secret then remains valid
	// until PreviousValidUntil.
	Previous bool
	// Status is the status of the presented secret.
	Status token.Status

	// number is the number of the token's entry in memory. The entry may have been reused for
	// another token since then.
	number uint32
}

// PreviousValidUntil returns when the secret stops being valid, or the zero time if Previous isn't
// set.
func (m *Match) PreviousValidUntil() time.Time { return timeOfSeconds(m.previousUntil) }

// Authenticate finds the token that a presented secret belongs to. It doesn't check the
// token's permissions. The errors are [ErrNotFound] (for both an unknown ID and a wrong
// secret), [token.ErrDamaged] and [ErrUnavailable].
//
// If the token is already in memory, Authenticate neither allocates nor calls the backend.
func (s *Store) Authenticate(c token.Credential, now time.Time) (Match, error) {
	if s.closed.Load() {
		return Match{}, ErrClosed
	}
	if s.shared != nil {
		if err := s.shared.Stale(); err != nil {
			return Match{}, err
		}
	}
	var m Match
	if !s.index.match(c.Digest, now, &m) {
		// The token is not in memory, or a concurrent change is removing the secret.
		if err := s.load(c.Digest); err != nil {
			return Match{}, s.orDamaged(c, err)
		}
		if !s.index.match(c.Digest, now, &m) {
			return Match{}, ErrNotFound // removed in the meantime
		}
	}
	return m, nil
}

// InUse reports whether a token with this digest, in any state, is in memory. It reads only memory.
func (s *Store) InUse(digest token.Digest) bool {
	return s.index.digests[digestShard(digest)].get(digest) != 0
}

// Refresh updates an earlier match to the given time. It reports false if the secret no longer
// belongs to a token. Like [Store.Watch], it reads only memory, because a matched token stays
// in memory until it is deleted. Refresh neither blocks nor calls the backend, so
// [Actor].Authorize may call it.
func (s *Store) Refresh(m Match, now time.Time) (Match, bool) {
	var fresh Match
	if !s.index.match(m.Digest, now, &fresh) {
		return Match{}, false
	}
	return fresh, true
}

// load loads the token with the given digest into memory. For an unknown digest, it makes only
// one backend lookup.
func (s *Store) load(digest token.Digest) error {
	id, err := s.backend.IDOf(digest)
	if err != nil {
		return readError(err)
	}
	defer s.index.locks.lock(id)()
	if s.index.match(digest, time.Time{}, new(Match)) {
		return nil
	}
	if err := s.inDoubt.check(id); err != nil {
		return err
	}
	tok, err := s.backend.Token(id)
	if err == nil {
		if _, ok := tok.SecretOf(digest); ok {
			s.activate(tok)
			return nil
		}
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return readError(err)
	}
	// The backend's index maps the digest to a token that doesn't have it. Either the token
	// changed between the two lookups, or the index is damaged. Holding the lock rules out
	// further changes, so another lookup shows which.
	if _, err := s.backend.IDOf(digest); err != nil {
		return readError(err)
	}
	return fmt.Errorf("%w: the index maps a secret to token %s, which doesn't have it", token.ErrDamaged, id)
}

// orDamaged returns err, or an ErrDamaged if the secret was not found because its token is
// damaged. This is the only case in which the store uses the ID inside a secret.
func (s *Store) orDamaged(c token.Credential, err error) error {
	if s.damaged.Load() == 0 || !errors.Is(err, ErrNotFound) || c.ID == (token.ID{}) {
		return err
	}
	if _, tokenErr := s.backend.Token(c.ID); errors.Is(tokenErr, token.ErrDamaged) {
		return tokenErr
	}
	return err
}

// activate adds a token to the index. The caller must hold the ID's lock.
func (s *Store) activate(token *token.Token) {
	number := s.index.byID(token.ID)
	if number == 0 {
		number = s.index.add(token.ID)
	}
	s.index.replace(number, token)
}

// readError wraps err in an ErrUnavailable unless the error is about the token itself.
func readError(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, token.ErrDamaged) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// maintain performs the store's background work until the store is closed.
func (s *Store) maintain(flushInterval time.Duration) {
	defer close(s.stopped)
	var flush <-chan time.Time
	var full <-chan struct{}
	if flushInterval > 0 {
		flush, full = time.After(flushInterval), s.journal.Full()
	}
	expire := time.NewTicker(watchInterval)
	defer expire.Stop()
	var prune, notice <-chan time.Time
	if flushInterval > 0 {
		prune, notice = time.After(0), time.After(0)
	}
	var flushFails, countsAtRisk, clockBehind, clockAhead, noticesFail condition
	s.watchClock(&clockBehind)
	s.watchAhead(&clockAhead)
	s.logJournal(&countsAtRisk)
	for {
		select {
		case <-s.stop:
			return
		case <-expire.C:
			s.logRepairs()
			s.watches.endDisallowed(&s.index, s.Now())
			s.watchClock(&clockBehind)
			s.watchAhead(&clockAhead)
			s.giveBackIdle()
		case <-notice:
			if s.Stale() != nil { // for example, before the shared tokens have been read
				notice = time.After(staleInterval)
				continue
			}
			err := s.publishExpiry()
			switch noticesFail.update(err != nil) {
			case conditionBegan:
				s.logger.Error("checking for expiring tokens failed; will retry", zap.Error(err))
			case conditionEnded:
				s.logger.Info("checking for expiring tokens works again")
			}
			notice = time.After(noticeInterval)
		case <-prune:
			wait := pruneInterval
			if more, err := s.prune(); err != nil {
				s.logger.Warn("pruning old audit entries failed; will retry", zap.Error(err))
			} else if more {
				wait = pruneAgain
			}
			prune = time.After(wait)
		case <-flush:
			flush = time.After(s.flushInBackground(&flushFails, &countsAtRisk, flushInterval))
		case <-full:
			s.flushInBackground(&flushFails, &countsAtRisk, flushInterval)
		}
	}
}

// condition is true while a problem exists. The problem is logged when it begins and when it
// ends.
type condition bool

const (
	conditionBegan = iota + 1
	conditionEnded
)

// update sets the condition to now. It returns conditionBegan or conditionEnded if the value
// changed, and 0 otherwise.
func (t *condition) update(now bool) int {
	if bool(*t) == now {
		return 0
	}
	*t = condition(now)
	if now {
		return conditionBegan
	}
	return conditionEnded
}
