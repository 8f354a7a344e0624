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

// Options of a [Store]. The zero value is right except in tests.
type Options struct {
	// Clock defaults to [SystemClock].
	Clock Clock
	// Elapsed returns how long the process has run, whatever the clock says. The
	// default is the machine's monotonic time.
	Elapsed func() time.Duration
	// Logger defaults to none.
	Logger *zap.Logger
	// Random defaults to the system's CSPRNG.
	Random io.Reader
	// FlushInterval is how long the store waits at least between two flushes of what was
	// counted; it waits longer, up to fifteen times, if they take long. 0 is a second.
	// Negative is only at Close and by Flush; then nothing is removed in the background
	// either.
	FlushInterval time.Duration
	// Flushed is told how long it took to save the usage of so many tokens, or to fail
	// to; also while the store is being closed.
	Flushed func(took time.Duration, tokens int)
	// Events is told what has happened to tokens, by whoever has caused it: it must not
	// block. The default tells nobody.
	Events func(Event)
}

const (
	// pruneInterval is how often is looked for what needn't be kept any longer.
	pruneInterval = time.Hour
	// pruneAgain is when to go on: a little at once, so that no change waits.
	pruneAgain = 100 * time.Millisecond
	// noticeInterval is how often is looked for tokens that come near their end.
	noticeInterval = time.Minute
)

// Store answers for all tokens of one backend.
type Store struct {
	backend Backend
	clock   Clock
	logger  *zap.Logger
	random  io.Reader
	index   index
	// journal has what was counted; pending is what was read from it and is not saved.
	journal *journal.Journal
	pending *pending
	flusher flusher

	flushed func(took time.Duration, tokens int)
	tell    func(Event)

	auditRetention atomic.Pointer[token.Lifetime]
	historyDays    atomic.Int64 // 0 is DefaultHistory

	// newest is what Now doesn't go back behind, in microseconds since 1970.
	newest atomic.Int64
	// passed is the time that is known to have passed.
	passed passedTime

	uncertain uncertain
	// repairs is how many of the backend's repairs have been logged, and damaged how many
	// tokens are damaged.
	repairs int
	damaged atomic.Int64
	watches watchLists
	// backups is the number of backups that are open.
	backups atomic.Int32

	usedAfterRevoke usedAfterRevoke
	// toldExpiry is up to when tokens have been told of that come near their end. It is
	// maintain's.
	toldExpiry time.Time

	closed   atomic.Bool
	closing  sync.Once
	closeErr error
	stop     chan struct{}
	stopped  chan struct{}
}

// Open returns a store over the backend, which it closes when it is closed. After
// an error the backend is still the caller's.
func Open(backend Backend, options Options) (*Store, error) {
	s := &Store{
		backend: backend,
		clock:   options.Clock,
		logger:  options.Logger,
		random:  options.Random,

		flushed: options.Flushed,
		tell:    options.Events,
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
	if s.tell == nil {
		s.tell = func(Event) {}
	}
	state, err := backend.State()
	if err != nil {
		return nil, fmt.Errorf("reading the token store's state: %w", err)
	}
	s.newest.Store(state.Recorded.UnixMicro())
	s.openPassed(state.Elapsed, options.Elapsed)
	if err := s.openJournal(state); err != nil {
		return nil, err
	}
	s.logRepairs()
	interval := options.FlushInterval
	if interval == 0 {
		interval = defaultFlushInterval
	}
	go s.maintain(interval)
	return s, nil
}

// Close folds the remaining usage into the backend and closes it. Calls that come
// later fail with [ErrClosed], and what they count is lost. Closing twice is
// harmless.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		close(s.stop)
		<-s.stopped
		s.closeErr = errors.Join(s.Flush(), s.setTimes(State{Elapsed: s.passed.at()}, nil), s.journal.Close(),
			s.backend.Close())
	})
	return s.closeErr
}

// Match is the token that a presented secret belongs to.
type Match struct {
	// Token is what a request needs of the token as it is now.
	Token Principal
	// Status is the state of the presented secret.
	Status token.Status
	// Digest is of the presented secret.
	Digest token.Digest
	// Previous says that it is the secret from before the last rotation, which is valid
	// until PreviousValidUntil.
	Previous           bool
	PreviousValidUntil time.Time

	// number of the entry in memory, unless it has become another token's since.
	number uint32
}

// Authenticate finds the token whose secret was presented. It doesn't look at
// what the token may do. The errors are [ErrNotFound] for an unknown id and for a
// wrong secret alike, [token.ErrDamaged] and [ErrUnavailable].
//
// A token in use is found without allocating and without the backend.
func (s *Store) Authenticate(c token.Credential, now time.Time) (Match, error) {
	if s.closed.Load() {
		return Match{}, ErrClosed
	}
	var m Match
	if !s.index.match(c.Digest, now, &m) {
		// Memory doesn't know, or a change is just taking the secret away.
		if err := s.load(c.Digest); err != nil {
			return Match{}, s.orDamaged(c, err)
		}
		if !s.index.match(c.Digest, now, &m) {
			return Match{}, ErrNotFound // taken away since
		}
	}
	return m, nil
}

// Refresh returns the token of an earlier match as it is at now. It reports false if
// the secret no longer belongs to a token. Like [Store.Watch] it looks only at
// memory, where a matched token stays until it is deleted: it neither blocks nor asks
// the backend, so [Actor].Authorize may call it.
func (s *Store) Refresh(m Match, now time.Time) (Match, bool) {
	var fresh Match
	if !s.index.match(m.Digest, now, &fresh) {
		return Match{}, false
	}
	return fresh, true
}

// load brings the token that has the digest into memory. A digest that nobody has
// costs one look-up in the backend and nothing else.
func (s *Store) load(digest token.Digest) error {
	id, err := s.backend.IDOf(digest)
	if err != nil {
		return readError(err)
	}
	defer s.index.locks.lock(id)()
	if s.index.match(digest, time.Time{}, new(Match)) {
		return nil
	}
	if err := s.uncertain.check(id); err != nil {
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
	// The digest leads to nothing that has it. Either a change came between the two
	// look-ups, which the lock rules out from here on, or the index is damaged.
	if _, err := s.backend.IDOf(digest); err != nil {
		return readError(err)
	}
	return fmt.Errorf("%w: a secret leads to token %s, which doesn't have it", token.ErrDamaged, id)
}

// orDamaged returns err, or that the token is damaged if that is why nobody has its secret.
// Only then the id in a secret is looked at.
func (s *Store) orDamaged(c token.Credential, err error) error {
	if s.damaged.Load() == 0 || !errors.Is(err, ErrNotFound) || c.ID == (token.ID{}) {
		return err
	}
	if _, tokenErr := s.backend.Token(c.ID); errors.Is(tokenErr, token.ErrDamaged) {
		return tokenErr
	}
	return err
}

// activate puts a token into the index. The id's lock is held.
func (s *Store) activate(token *token.Token) {
	number := s.index.byID(token.ID)
	if number == 0 {
		number = s.index.add(token.ID)
	}
	s.index.replace(number, token)
}

// readError makes every error that isn't about the token itself an
// ErrUnavailable.
func readError(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, token.ErrDamaged) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// maintain does what has to be done beside the requests, until the store is
// closed.
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
	var flushing, atRisk, clock, ahead, noticing trouble
	s.watchClock(&clock)
	s.watchAhead(&ahead)
	s.logRisk(&atRisk)
	for {
		select {
		case <-s.stop:
			return
		case <-expire.C:
			s.logRepairs()
			s.watches.endDisallowed(&s.index, s.Now())
			s.watchClock(&clock)
			s.watchAhead(&ahead)
		case <-notice:
			err := s.tellExpiry()
			switch noticing.changed(err != nil) {
			case troubleBegan:
				s.logger.Error("checking for expiring tokens failed; will retry", zap.Error(err))
			case troubleEnded:
				s.logger.Info("tokens that come near their end are looked for again")
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
			flush = time.After(s.flushInBackground(&flushing, &atRisk, flushInterval))
		case <-full:
			s.flushInBackground(&flushing, &atRisk, flushInterval)
		}
	}
}

// trouble is something that is told when it begins and when it ends.
type trouble bool

const (
	troubleBegan = iota + 1
	troubleEnded
)

// changed notes how it is now, and returns what has changed or 0.
func (t *trouble) changed(now bool) int {
	if bool(*t) == now {
		return 0
	}
	*t = trouble(now)
	if now {
		return troubleBegan
	}
	return troubleEnded
}
