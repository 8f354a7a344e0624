package tokenstore

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// memory is an in-memory Backend with hooks and injectable errors.
type memory struct {
	mu       sync.Mutex
	tokens   map[token.ID][]byte
	digests  map[token.Digest]token.ID
	used     map[token.ID][]byte
	days     map[dayOfToken]DayUsage
	totals   map[Day]DayUsage
	refused  map[token.ID][]byte
	audit    []AuditEntry
	requests map[token.Digest]KeptRequest
	ended    map[token.Digest]time.Time
	state    State
	sequence uint64
	closed   bool
	// calls counts calls by method, except for Prune.
	calls map[string]int

	// afterIDOf and afterToken, if set, run at the end of IDOf and Token, without the lock.
	afterIDOf  func(token.ID)
	afterToken func(token.ID)
	// applyError, if set, is the error that Apply returns. If applyLoses is also set, Apply
	// doesn't store the change.
	applyError  error
	applyLoses  bool
	tokenError  error
	saveError   error
	stateError  error
	timesError  error
	backupError error
	// saves makes SaveUsage save the usage even though it returns saveError.
	saves bool
	// journal is the journal's path, or empty if there is no journal.
	journal string
	// beforeSave, if set, runs before each SaveUsage, without the lock.
	beforeSave func()
}

type dayOfToken struct {
	id  token.ID
	day Day
}

func newMemory() *memory {
	return &memory{
		tokens: make(map[token.ID][]byte), digests: make(map[token.Digest]token.ID), used: make(map[token.ID][]byte),
		days: make(map[dayOfToken]DayUsage), totals: make(map[Day]DayUsage), refused: make(map[token.ID][]byte),
		requests: make(map[token.Digest]KeptRequest), ended: make(map[token.Digest]time.Time),
		calls: make(map[string]int),
	}
}

func (m *memory) begin(call string) (end func(), err error) {
	m.mu.Lock()
	m.calls[call]++
	if m.closed {
		m.mu.Unlock()
		return nil, ErrClosed
	}
	return m.mu.Unlock, nil
}

func (m *memory) Token(id token.ID) (*token.Token, error) {
	end, err := m.begin("Token")
	if err != nil {
		return nil, err
	}
	token, err := m.token(id)
	if m.tokenError != nil {
		token, err = nil, m.tokenError
	}
	end()
	if m.afterToken != nil {
		m.afterToken(id)
	}
	return token, err
}

func (m *memory) token(id token.ID) (*token.Token, error) {
	record, ok := m.tokens[id]
	if !ok {
		return nil, ErrNotFound
	}
	return token.DecodeToken(id, record)
}

func (m *memory) IDOf(digest token.Digest) (token.ID, error) {
	end, err := m.begin("IDOf")
	if err != nil {
		return token.ID{}, err
	}
	id, ok := m.digests[digest]
	end()
	if !ok {
		return token.ID{}, ErrNotFound
	}
	if m.afterIDOf != nil {
		m.afterIDOf(id)
	}
	return id, nil
}

func (m *memory) Apply(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error) {
	end, err := m.begin("Apply")
	if err != nil {
		return nil, err
	}
	defer end()
	old, err := m.token(id)
	switch {
	case err == ErrNotFound:
		old = nil
	case errors.Is(err, token.ErrDamaged):
		old = &token.Token{ID: id, Damaged: true}
	case err != nil:
		return nil, err
	}
	changed, err := change(old)
	if m.applyError != nil && m.applyLoses {
		return nil, m.applyError
	}
	if err != nil {
		return nil, err
	}
	if changed.Token != nil && old != nil && old.Damaged {
		return nil, token.ErrDamaged
	}
	if changed.Token != nil {
		for _, digest := range changed.Token.Digests() {
			if other, taken := m.digests[digest]; taken && other != id {
				return nil, ErrTaken
			}
		}
	}
	if token := changed.Token; token != nil && (old == nil || old.Digest != token.Digest) {
		if at, ended := m.ended[token.Digest]; ended {
			return nil, &EndedError{At: at}
		}
	}
	if request := changed.Request; request != nil {
		if kept, ok := m.requests[request.Key]; ok && request.Time.Sub(kept.Time) < RequestRetention {
			return nil, ErrRepeated
		}
		m.requests[request.Key] = *request
	}
	if ended := changed.Ended; ended != nil {
		at, kept := m.ended[ended.Digest]
		if kept && ended.At.Before(at) || !kept && !changed.EndsKnown {
			m.ended[ended.Digest] = ended.At
		}
	}
	token := changed.Token
	if old != nil {
		delete(m.tokens, id)
		for _, digest := range old.Digests() {
			delete(m.digests, digest)
		}
	}
	if token != nil {
		m.put(token)
	} else {
		delete(m.used, id)
		delete(m.refused, id)
		maps.DeleteFunc(m.days, func(key dayOfToken, _ DayUsage) bool { return key.id == id })
	}
	m.audit = append(m.audit, changed.Audit)
	m.record(now)
	m.wrote(m.applyError)
	return token, m.applyError
}

func (m *memory) put(tok *token.Token) {
	m.tokens[tok.ID] = token.EncodeToken(tok)
	for _, digest := range tok.Digests() {
		m.digests[digest] = tok.ID
	}
}

// wrote increments the sequence if err is nil.
func (m *memory) wrote(err error) {
	if err == nil {
		m.sequence++
	}
}

func (m *memory) record(now time.Time) {
	if now.After(m.state.Recorded) {
		m.state.Recorded = now
	}
}

func (m *memory) List(order Order, after *Position, descending bool, yield func(*token.Token) bool) error {
	end, err := m.begin("List")
	if err != nil {
		return err
	}
	defer end()
	compare := func(a, b Position) int {
		// Tokens that never expire come last.
		if c := a.Time.Compare(b.Time); c != 0 && (order != OrderExpires || a.Time.IsZero() == b.Time.IsZero()) {
			return c
		} else if c != 0 {
			return -c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	}
	var tokens []*token.Token
	for id := range m.tokens {
		tok, err := m.token(id)
		if err != nil {
			tok = &token.Token{ID: id, Damaged: true}
		}
		tokens = append(tokens, tok)
	}
	slices.SortFunc(tokens, func(a, b *token.Token) int {
		c := compare(order.PositionOf(a), order.PositionOf(b))
		if descending {
			return -c
		}
		return c
	})
	for _, token := range tokens {
		if after != nil {
			if c := compare(order.PositionOf(token), *after); c == 0 || (c < 0) != descending {
				continue
			}
		}
		if !yield(token) {
			return nil
		}
	}
	return nil
}

// Scan yields the tokens as they were when Scan was called, like a read transaction.
func (m *memory) Scan(after token.ID, yield func(*token.Token, Usage) bool) error {
	end, err := m.begin("Scan")
	if err != nil {
		return err
	}
	tokens, used := maps.Clone(m.tokens), maps.Clone(m.used)
	end()
	ids := slices.SortedFunc(maps.Keys(tokens), func(a, b token.ID) int { return slices.Compare(a[:], b[:]) })
	var reader Reader
	for _, id := range ids {
		if slices.Compare(id[:], after[:]) <= 0 {
			continue
		}
		tok, err := reader.Token(id, tokens[id])
		if err != nil {
			tok = &token.Token{ID: id, Damaged: true}
		}
		usage, _ := reader.Usage(id, used[id])
		if !yield(tok, usage) {
			break
		}
	}
	return nil
}

func (m *memory) Request(key token.Digest) (KeptRequest, error) {
	end, err := m.begin("Request")
	if err != nil {
		return KeptRequest{}, err
	}
	defer end()
	kept, ok := m.requests[key]
	if !ok {
		return KeptRequest{}, ErrNotFound
	}
	return kept, nil
}

// Audit numbers entries with the same time in the order in which they were added. Prune
// removes all entries with a given time, so the other numbers don't change.
func (m *memory) Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error {
	end, err := m.begin("Audit")
	if err != nil {
		return err
	}
	defer end()
	entries := slices.SortedStableFunc(slices.Values(m.audit),
		func(a, b AuditEntry) int { return a.Time.Compare(b.Time) })
	positions := make([]AuditPosition, len(entries))
	for i, entry := range entries {
		positions[i].Time = entry.Time
		if i > 0 && entry.Time.Equal(entries[i-1].Time) {
			positions[i].Sequence = positions[i-1].Sequence + 1
		}
	}
	for i, at := range slices.Backward(positions) {
		if before != nil && cmp.Or(at.Time.Compare(before.Time), cmp.Compare(at.Sequence, before.Sequence)) >= 0 {
			continue
		}
		if !yield(at, entries[i]) {
			break
		}
	}
	return nil
}

func (m *memory) Prune(keep Retention) (bool, error) {
	m.mu.Lock() // not counted, because it runs in the background
	defer m.mu.Unlock()
	if m.closed {
		return false, ErrClosed
	}
	m.audit = slices.DeleteFunc(m.audit, func(e AuditEntry) bool { return e.Time.Before(keep.Audit) })
	maps.DeleteFunc(m.requests, func(_ token.Digest, r KeptRequest) bool { return r.Time.Before(keep.Requests) })
	maps.DeleteFunc(m.days, func(key dayOfToken, _ DayUsage) bool { return key.day < keep.Days })
	for key, day := range m.days {
		if key.day < keep.Hours {
			m.days[key] = day.AsWhole()
		}
	}
	maps.DeleteFunc(m.totals, func(day Day, _ DayUsage) bool { return day < keep.Days })
	for key, day := range m.totals {
		if key < keep.Hours {
			m.totals[key] = day.AsWhole()
		}
	}
	return false, nil
}

// Backup copies only the tokens' records.
func (m *memory) Backup() (io.ReadCloser, int64, error) {
	end, err := m.begin("Backup")
	if err != nil {
		return nil, 0, err
	}
	defer end()
	if m.backupError != nil {
		return nil, 0, m.backupError
	}
	all := bytes.Join(slices.Collect(maps.Values(m.tokens)), nil)
	return io.NopCloser(bytes.NewReader(all)), int64(len(all)), nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) reopen() { m.do(func() { m.closed = false }) }

// called returns the number of calls per method since called was last used.
func (m *memory) called() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = make(map[string]int)
	return calls
}

// do runs f with the lock held.
func (m *memory) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}
