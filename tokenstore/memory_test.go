package tokenstore

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memory is a Backend in memory, with places to make trouble at.
type memory struct {
	mu       sync.Mutex
	tokens   map[ID][]byte
	digests  map[Digest]ID
	used     map[ID][]byte
	days     map[dayOfToken]DayUsage
	audit    []AuditEntry
	requests map[Digest]KeptRequest
	ended    map[Digest]time.Time
	recorded time.Time
	told     time.Time
	passed   time.Time
	closed   bool
	// calls counts the calls of the reading methods by name.
	calls map[string]int

	// afterIDOf and afterToken, if set, run when the method has read, without a
	// lock.
	afterIDOf  func(ID)
	afterToken func(ID)
	// applyError, if set, is what Apply returns; applyLoses says that the change
	// isn't made then.
	applyError error
	applyLoses bool
	tokenError error
	saveError  error
	// outliving, if set, has the totals that outlive the store; toldSaved are those
	// that it was told to be saved.
	outliving map[ID]Usage
	slots     []ID
	toldSaved []Usage
	tendError error
	// beforeSave, if set, runs before each SaveUsage, without a lock.
	beforeSave func()
}

type dayOfToken struct {
	id  ID
	day Day
}

func newMemory() *memory {
	return &memory{
		tokens: make(map[ID][]byte), digests: make(map[Digest]ID), used: make(map[ID][]byte), days: make(map[dayOfToken]DayUsage),
		requests: make(map[Digest]KeptRequest), ended: make(map[Digest]time.Time), calls: make(map[string]int),
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

func (m *memory) Token(id ID) (*Token, error) {
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

func (m *memory) token(id ID) (*Token, error) {
	record, ok := m.tokens[id]
	if !ok {
		return nil, ErrNotFound
	}
	return DecodeToken(id, record)
}

func (m *memory) IDOf(digest Digest) (ID, error) {
	end, err := m.begin("IDOf")
	if err != nil {
		return ID{}, err
	}
	id, ok := m.digests[digest]
	end()
	if !ok {
		return ID{}, ErrNotFound
	}
	if m.afterIDOf != nil {
		m.afterIDOf(id)
	}
	return id, nil
}

func (m *memory) Apply(id ID, now time.Time, change ChangeFunc) (*Token, error) {
	end, err := m.begin("Apply")
	if err != nil {
		return nil, err
	}
	defer end()
	if m.applyError != nil && m.applyLoses {
		return nil, m.applyError
	}
	old, err := m.token(id)
	if err == ErrNotFound {
		old = nil
	} else if err != nil {
		return nil, err
	}
	changed, err := change(old)
	if err != nil {
		return nil, err
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
		if kept, ok := m.requests[request.Key]; ok && now.Sub(kept.Time) < RequestRetention {
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
	}
	m.audit = append(m.audit, changed.Audit)
	m.record(now)
	return token, m.applyError
}

func (m *memory) put(token *Token) {
	m.tokens[token.ID] = EncodeToken(token)
	for _, digest := range token.Digests() {
		m.digests[digest] = token.ID
	}
}

func (m *memory) record(now time.Time) {
	if now.After(m.recorded) {
		m.recorded = now
	}
}

func (m *memory) List(order Order, after *Position, descending bool, yield func(*Token) bool) error {
	end, err := m.begin("List")
	if err != nil {
		return err
	}
	defer end()
	compare := func(a, b Position) int {
		// A token without end comes last.
		if c := a.Time.Compare(b.Time); c != 0 && (order != OrderExpires || a.Time.IsZero() == b.Time.IsZero()) {
			return c
		} else if c != 0 {
			return -c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	}
	var tokens []*Token
	for id := range m.tokens {
		if token, err := m.token(id); err == nil {
			tokens = append(tokens, token)
		}
	}
	slices.SortFunc(tokens, func(a, b *Token) int {
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

func (m *memory) Scan(after ID, yield func(*Token, Usage) bool) error {
	end, err := m.begin("Scan")
	if err != nil {
		return err
	}
	defer end()
	ids := slices.SortedFunc(maps.Keys(m.tokens), func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	var reader Reader
	for _, id := range ids {
		if slices.Compare(id[:], after[:]) <= 0 {
			continue
		}
		token, err := reader.Token(id, m.tokens[id])
		if err != nil {
			continue
		}
		var usage Usage
		if record, ok := m.used[id]; ok {
			usage, _ = reader.Usage(id, record)
		}
		if !yield(token, usage) {
			break
		}
	}
	return nil
}

func (m *memory) Usage(id ID) (UsageOf, error) {
	end, err := m.begin("Usage")
	if err != nil {
		return UsageOf{}, err
	}
	defer end()
	record, ok := m.used[id]
	if !ok {
		return UsageOf{}, nil
	}
	return DecodeUsage(id, record)
}

func (m *memory) Days(id ID, first, last Day, yield func(DayUsage) bool) error {
	end, err := m.begin("Days")
	if err != nil {
		return err
	}
	defer end()
	for day := first; day <= last; day++ {
		if saved, ok := m.days[dayOfToken{id, day}]; ok && !yield(saved) {
			break
		}
	}
	return nil
}

func (m *memory) Counters() Counters {
	if m.outliving == nil {
		return nil
	}
	return outlivingTotals{m}
}

func (m *memory) TendCounters() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tendError
}

// outlivingTotals are memory.outliving; the slots are memory.slots, from 1 on.
type outlivingTotals struct{ m *memory }

func (o outlivingTotals) Take(id ID, totals Usage) (slot uint32) {
	o.m.do(func() {
		o.m.outliving[id] = totals
		o.m.slots = append(o.m.slots, id)
		slot = uint32(len(o.m.slots))
	})
	return slot
}

func (o outlivingTotals) Free(uint32) {}

func (o outlivingTotals) note(slot uint32, u Usage) {
	o.m.do(func() {
		id := o.m.slots[slot-1]
		o.m.outliving[id] = o.m.outliving[id].Larger(u)
	})
}

func (o outlivingTotals) Allowed(slot uint32, total uint64, at int64) bool {
	o.note(slot, Usage{Allowed: total, Last: LastUse{Time: time.UnixMicro(at).UTC()}})
	return true
}

func (o outlivingTotals) Denied(slot uint32, total uint64) { o.note(slot, Usage{Denied: total}) }

func (o outlivingTotals) Saved(_ uint32, u Usage) {
	o.m.do(func() { o.m.toldSaved = append(o.m.toldSaved, u) })
}

func (m *memory) SaveUsage(now time.Time, totals []UsageOf) error {
	if m.beforeSave != nil {
		m.beforeSave()
	}
	end, err := m.begin("SaveUsage")
	if err != nil {
		return err
	}
	defer end()
	if m.saveError != nil {
		return m.saveError
	}
	for _, total := range totals {
		if _, ok := m.tokens[total.ID]; ok {
			stored, err := DecodeUsage(total.ID, m.used[total.ID])
			if err != nil { // there is none
				stored = UsageOf{ID: total.ID}
			}
			total = total.After(stored)
			m.used[total.ID] = EncodeUsage(total)
			for i := range len(total.Days) - 1 {
				day := total.Days[i]
				key := dayOfToken{total.ID, day.Day}
				if saved, ok := m.days[key]; ok {
					day = day.Larger(saved)
				}
				m.days[key] = day
			}
		}
	}
	m.record(now)
	return nil
}

func (m *memory) RecordedTime() (time.Time, error) {
	end, err := m.begin("RecordedTime")
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	return m.recorded, nil
}

func (m *memory) SetRecordedTime(now time.Time, entry AuditEntry) error {
	end, err := m.begin("SetRecordedTime")
	if err != nil {
		return err
	}
	defer end()
	m.recorded, m.passed = now, now
	m.audit = append(m.audit, entry)
	return nil
}

func (m *memory) PassedTime() (time.Time, error) {
	m.mu.Lock() // and isn't counted, as pruning isn't
	defer m.mu.Unlock()
	return m.passed, nil
}

func (m *memory) SetPassedTime(passed time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.passed = passed
	return nil
}

func (m *memory) ToldTime() (time.Time, error) {
	end, err := m.begin("ToldTime")
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	return m.told, nil
}

func (m *memory) SetToldTime(told time.Time) error {
	end, err := m.begin("SetToldTime")
	if err != nil {
		return err
	}
	defer end()
	m.told = told
	return m.saveError
}

func (m *memory) Request(key Digest) (KeptRequest, error) {
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

// Audit takes the entry's index for its sequence number.
func (m *memory) Audit(before *AuditPosition, yield func(AuditPosition, AuditEntry) bool) error {
	end, err := m.begin("Audit")
	if err != nil {
		return err
	}
	defer end()
	for i, entry := range slices.Backward(m.audit) {
		if before != nil && uint64(i) >= before.Sequence {
			continue
		}
		if !yield(AuditPosition{Time: entry.Time, Sequence: uint64(i)}, entry) {
			break
		}
	}
	return nil
}

func (m *memory) Prune(keep Retention) (bool, error) {
	m.mu.Lock() // and isn't counted: it comes when it likes
	defer m.mu.Unlock()
	if m.closed {
		return false, ErrClosed
	}
	m.audit = slices.DeleteFunc(m.audit, func(e AuditEntry) bool { return e.Time.Before(keep.Audit) })
	maps.DeleteFunc(m.requests, func(_ Digest, r KeptRequest) bool { return r.Time.Before(keep.Requests) })
	return false, nil
}

// Backup copies nothing but the tokens' records.
func (m *memory) Backup() (io.ReadCloser, int64, error) {
	end, err := m.begin("Backup")
	if err != nil {
		return nil, 0, err
	}
	defer end()
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

// called returns how often each reading method has been called since the last
// time.
func (m *memory) called() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = make(map[string]int)
	return calls
}

// do runs f while no call is under way.
func (m *memory) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// testClock is a clock that a test sets.
type testClock struct {
	atomic.Pointer[time.Time]
	elapsed atomic.Int64
}

func newTestClock(now time.Time) *testClock {
	c := new(testClock)
	c.Store(&now)
	return c
}

func (c *testClock) Now() time.Time { return *c.Load() }

// set puts the clock forward or back. No time passes.
func (c *testClock) set(now time.Time) { c.Store(&now) }

// pass lets time pass.
func (c *testClock) pass(d time.Duration) {
	c.elapsed.Add(int64(d))
	c.set(c.Now().Add(d))
}

var testTime = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

var testPolicy = Policy{
	Prefixes:    Prefixes{DefaultPrefix},
	MaxLifetime: Lifetime{months: 24},
	Accounts:    []string{"alice", "default"},
	Catalog: Catalog{
		Scopes: []CatalogScope{
			{Scope: Scope{Name: "block:list"}}, {Scope: Scope{Name: "monitoring:update", Explicit: true}},
			{Scope: Scope{Name: "unikernel:create"}}, {Scope: Scope{Name: "unikernel:list"}},
		},
		Presets: map[string]Grants{"read": {"unikernel:list", "block:list"}, "full": {"*"}},
	},
}

var testActor = Actor{Name: "caddy-admin", Address: "127.0.0.1"}

// testStore is a store over memory with a clock that stands still.
type testStore struct {
	*Store
	memory *memory
	clock  *testClock
}

func openTestStore(t testing.TB) *testStore {
	t.Helper()
	return reopen(t, newMemory(), newTestClock(testTime))
}

func reopen(t testing.TB, backend *memory, clock *testClock) *testStore {
	t.Helper()
	backend.reopen()
	store, err := Open(backend, Options{Clock: clock, Elapsed: func() time.Duration { return time.Duration(clock.elapsed.Load()) }, FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &testStore{store, backend, clock}
}

// create makes a token that lives for a day.
func (s *testStore) create(t testing.TB, edit ...func(*Draft)) (*Token, Credential) {
	t.Helper()
	draft := Draft{Kind: KindAPI, Name: "test", Preset: "read", Expiry: Expiry{ExpiresIn: Lifetime{seconds: 24 * 60 * 60}}}
	for _, f := range edit {
		f(&draft)
	}
	token, secret, err := s.Create(testPolicy, draft, testActor)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatalf("the secret just made: %v", err)
	}
	return token, credential
}

// alter edits a stored token whatever the rules.
func (s *testStore) alter(t testing.TB, id ID, edit func(*Token)) {
	t.Helper()
	if err := s.tryAlter(id, edit); err != nil {
		t.Fatal(err)
	}
}

func (s *testStore) tryAlter(id ID, edit func(*Token)) error {
	now := s.Now()
	_, err := s.apply(id, now, Actor{}, func(old *Token) (Change, error) {
		if old == nil {
			return Change{}, ErrNotFound
		}
		token := *old
		token.Version++
		edit(&token)
		return Change{Token: &token, Audit: testActor.audit(now, "edit", &token, nil)}, nil
	})
	return err
}

// must returns what Authenticate finds.
func (s *testStore) must(t testing.TB, c Credential) Match {
	t.Helper()
	match, err := s.Authenticate(c, s.Now())
	if err != nil {
		t.Fatalf("Authenticate: %v", err)
	}
	return match
}

// unknown returns a credential that differs from c from character i on.
func unknown(t testing.TB, secret string, i int) Credential {
	t.Helper()
	text := []byte(secret[:checkStart])
	for ; i < len(text); i++ {
		if text[i] != '_' {
			text[i] = base62[(int(text[i])*7+i)%len(base62)]
		}
	}
	check := checkDigits(string(text))
	credential, err := testPolicy.Prefixes.Parse(string(text) + string(check[:]))
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

// flushing calls flush over and over until stop is called.
func flushing(t *testing.T, flush func() error) (stop func()) {
	done := make(chan struct{})
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for {
			if err := flush(); err != nil {
				t.Errorf("flushing: %v", err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return func() {
		close(done)
		flusher.Wait()
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
