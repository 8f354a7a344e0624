package tokenstore

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
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
	// FlushInterval is how often usage is folded into the backend, by default
	// every second, or every 15 of them if what isn't saved yet outlives the process
	// without loss: a token that goes on being used as before. Negative is only at
	// Close and by Flush; then nothing is removed in the background either.
	FlushInterval time.Duration
	// Flushed is told how long it took to save the usage of so many tokens, or to fail
	// to; also while the store is being closed.
	Flushed func(took time.Duration, tokens int)
	// Events is told what has happened to tokens, by whoever has caused it: it must not
	// block. The default tells nobody.
	Events func(Event)
}

const (
	defaultFlushInterval = time.Second
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
	index   *index
	// counters are the backend's, or nil.
	counters Counters

	flushed func(took time.Duration, tokens int)
	tell    func(Event)

	auditRetention atomic.Pointer[Lifetime]

	// newest is what Now doesn't go back behind, in microseconds since 1970.
	newest atomic.Int64
	// passed is the time that is known to have passed.
	passed passedTime

	dirty dirtyList
	// mortal says that the backend's counters may not outlive the process, atRisk why.
	mortal  atomic.Bool
	atRisk  atomic.Pointer[error]
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

		counters: backend.Counters(),
		flushed:  options.Flushed,
		tell:     options.Events,
		index:    newIndex(),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
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
	recorded, err := backend.RecordedTime()
	if err != nil {
		return nil, fmt.Errorf("reading the recorded time: %w", err)
	}
	s.newest.Store(recorded.UnixMicro())
	if err := s.openPassed(options.Elapsed); err != nil {
		return nil, err
	}
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
		s.closeErr = errors.Join(s.Flush(), s.backend.SetPassedTime(s.passed.at()), s.backend.Close())
	})
	return s.closeErr
}

// Match is the token that a presented secret belongs to.
type Match struct {
	// Token is what a request needs of the token as it is now.
	Token Principal
	// Status is the state of the presented secret.
	Status Status
	// Digest is of the presented secret.
	Digest Digest
	// Previous says that it is the secret from before the last rotation, which is valid
	// until PreviousValidUntil.
	Previous           bool
	PreviousValidUntil time.Time

	// The record in memory, unless it has become another generation's since.
	number, generation uint32
}

// Authenticate finds the token whose secret was presented. It doesn't look at
// what the token may do. The errors are [ErrNotFound] for an unknown id and for a
// wrong secret alike, [ErrDamaged] and [ErrUnavailable].
//
// A token in use is found without allocating, without a lock and without the
// backend.
func (s *Store) Authenticate(c Credential, now time.Time) (Match, error) {
	if s.closed.Load() {
		return Match{}, ErrClosed
	}
	var m Match
	if !s.index.match(&c.Digest, now, &m) {
		// Memory doesn't know, or a change is just taking the secret away.
		if err := s.load(c.Digest); err != nil {
			return Match{}, err
		}
		if !s.index.match(&c.Digest, now, &m) {
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
	if !s.index.match(&m.Digest, now, &fresh) {
		return Match{}, false
	}
	return fresh, true
}

// load brings the token that has the digest into memory. A digest that nobody has
// costs one look-up in the backend and nothing else.
func (s *Store) load(digest Digest) error {
	id, err := s.backend.IDOf(digest)
	if err != nil {
		return readError(err)
	}
	defer s.index.locks.lock(id)()
	if s.index.match(&digest, time.Time{}, new(Match)) {
		return nil
	}
	token, err := s.backend.Token(id)
	if err == nil {
		if _, ok := token.secretOf(digest); ok {
			return s.activate(token)
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
	return fmt.Errorf("%w: a secret leads to token %s, which doesn't have it", ErrDamaged, id)
}

// activate puts a token into the index with the usage it had, unless that is
// there already. The id's lock is held.
func (s *Store) activate(token *Token) error {
	number := s.index.byID(token.ID)
	if number == 0 {
		base, err := s.savedUsage(token.ID)
		if err != nil {
			return err
		}
		var r *record
		number, r = s.index.add(token.ID)
		r.setTotals(base.Usage)
		if s.counters != nil {
			if slot := r.slot.Load(); slot != 0 {
				s.counters.Free(slot) // of the token that had the record
			}
			r.slot.Store(s.counters.Take(token.ID, base.Usage))
		}
		// It is about to be used, which needs the history.
		s.beginHistory(number, r, base)
	}
	s.index.replace(number, token)
	return nil
}

// savedUsage returns a token's usage as the backend has it.
func (s *Store) savedUsage(id ID) (UsageOf, error) {
	base, err := s.backend.Usage(id)
	if errors.Is(err, ErrDamaged) {
		// The token is good; only its history is lost. That must be said but must
		// not refuse anyone.
		s.logger.Error("the usage record of a token is damaged; its counts begin anew", zap.Stringer("token_id", id), zap.Error(err))
		return UsageOf{ID: id}, nil
	}
	if err != nil {
		return UsageOf{}, readError(err)
	}
	return base, nil
}

// readError makes every error that isn't about the token itself an
// ErrUnavailable.
func readError(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// maintain does what has to be done beside the requests, until the store is
// closed.
func (s *Store) maintain(flushInterval time.Duration) {
	defer close(s.stopped)
	var flush <-chan time.Time
	if flushInterval > 0 {
		ticker := time.NewTicker(flushInterval)
		defer ticker.Stop()
		flush = ticker.C
	}
	expire := time.NewTicker(watchInterval)
	defer expire.Stop()
	var prune, notice <-chan time.Time
	if flushInterval > 0 {
		prune, notice = time.After(0), time.After(0)
	}
	var flushing, mortal, clock, ahead, noticing trouble
	s.watchClock(&clock)
	s.watchAhead(&ahead)
	for {
		select {
		case <-s.stop:
			return
		case <-expire.C:
			s.watches.endDisallowed(s.index, s.Now())
			s.watchClock(&clock)
			s.watchAhead(&ahead)
		case <-notice:
			err := s.tellExpiry()
			switch noticing.changed(err != nil) {
			case troubleBegan:
				s.logger.Error("it can't be looked for tokens that come near their end, or not be noted which were told of; it is tried again", zap.Error(err))
			case troubleEnded:
				s.logger.Info("tokens that come near their end are looked for again")
			}
			notice = time.After(noticeInterval)
		case <-prune:
			wait := pruneInterval
			if more, err := s.prune(); err != nil {
				s.logger.Warn("the audit can't be cut to what is to be kept of it; it is tried again", zap.Error(err))
			} else if more {
				wait = pruneAgain
			}
			prune = time.After(wait)
		case <-flush:
			err := s.flush(s.mortal.Load())
			switch flushing.changed(err != nil) {
			case troubleBegan:
				s.logger.Error("token usage can't be saved; it goes on being counted in memory and is saved when the store can be written again", zap.Error(err))
			case troubleEnded:
				s.logger.Info("token usage is being saved again")
			}
			err = s.backend.TendCounters()
			s.mortal.Store(err != nil)
			s.atRisk.Store(&err)
			switch mortal.changed(err != nil) {
			case troubleBegan:
				if errors.Is(err, ErrCountsUnread) {
					s.logger.Error("token usage that a killed process has left can't be read; it is missing in counts and quotas until a later start reads it", zap.Error(err))
					break
				}
				s.logger.Error("token usage that isn't saved yet doesn't outlive the process, or didn't", zap.Error(err))
			case troubleEnded:
				s.logger.Info("token usage outlives the process again")
			}
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
