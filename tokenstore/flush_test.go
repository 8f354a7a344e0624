package tokenstore

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// used returns the token's usage as saved in the backend, without its days.
func (s *testStore) used(t testing.TB, id token.ID) Usage {
	t.Helper()
	used, err := s.memory.saved(id)
	if err != nil {
		t.Fatal(err)
	}
	used.Days = nil
	return used
}

func TestUsage(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	if got, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(got.Usage, Usage{}) {
		t.Errorf("unused token: got usage %+v, %v, want none", got.Usage, err)
	}
	s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
	if got, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(got.Usage, Usage{Denied: 1}) {
		t.Errorf("after a denied request: got usage %+v, %v", got.Usage, err)
	}
	use := LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"}
	s.CountAllowed(match, "unikernel:list", use)
	want := Usage{Allowed: 1, Denied: 1, Last: use}
	want.Last.Time = testTime.Truncate(time.Microsecond)
	if got, err := s.Get(token.ID); err != nil || !reflect.DeepEqual(got.Usage, want) {
		t.Errorf("after an allowed request: got usage %+v, %v, want %+v", got.Usage, err, want)
	}
	if used := s.used(t, token.ID); !reflect.DeepEqual(used, Usage{}) {
		t.Errorf("usage was saved before Flush: %+v", used)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, s.memory, s.clock)
	if got, err := again.Get(token.ID); err != nil || !reflect.DeepEqual(got.Usage, want) {
		t.Errorf("after reopening: got usage %+v, %v, want %+v", got.Usage, err, want)
	}
	again.CountAllowed(again.must(t, credential), "unikernel:list", use)
	if got, err := again.Get(token.ID); err != nil || got.Usage.Allowed != 2 {
		t.Errorf("after another request: got usage %+v, %v, want 2 allowed", got.Usage, err)
	}
}

// TestLastUseNeverGoesBack verifies that the last use is the newest one, no matter in which
// order requests are counted.
func TestLastUseNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	for _, c := range []struct {
		seconds  time.Duration
		from     string
		wantTime time.Duration
		wantFrom string
	}{{5, "a", 5, "a"}, {3, "b", 5, "a"}, {4, "a", 5, "a"}, {6, "a", 6, "a"}, {6, "c", 6, "c"}, {7, "d", 7, "d"},
		{-1 << 30, "e", 7, "d"}} {
		s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime.Add(c.seconds * time.Second), IP: c.from})
		got, err := s.Get(token.ID)
		if err != nil {
			t.Fatal(err)
		}
		if last := got.Usage.Last; last.IP != c.wantFrom || !last.Time.Equal(testTime.Add(c.wantTime*time.Second)) {
			t.Errorf("after a request from %s at %d, the last use is %+v", c.from, c.seconds, last)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A use is also compared with the saved last use.
	again := reopen(t, s.memory, s.clock)
	again.CountAllowed(again.must(t, credential), "unikernel:list", LastUse{Time: testTime, IP: "f"})
	if got, err := again.Get(token.ID); err != nil || got.Usage.Last.IP != "d" || got.Usage.Allowed != 8 {
		t.Errorf("after reopening: got usage %+v, %v", got.Usage, err)
	}
}

// TestConcurrentUses runs requests and flushes concurrently. It verifies that every request
// counts and that the last use is the newest one.
func TestConcurrentUses(t *testing.T) {
	t.Parallel()
	const users, tokens = 64, 3
	uses := 3000
	if testing.Short() {
		uses = 300
	}
	s := openTestStore(t)
	var matches []Match
	var ids []token.ID
	for range tokens {
		token, credential := s.create(t)
		matches, ids = append(matches, s.must(t, credential)), append(ids, token.ID)
	}
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			for i := range uses {
				match := matches[i%tokens]
				if i%4 == 0 {
					s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
					continue
				}
				at := testTime.Add(time.Duration(i*users+user) * time.Microsecond)
				s.CountAllowed(match, "unikernel:list", LastUse{Time: at, IP: fmt.Sprint(user % 3), Route: at.String()})
			}
		})
	}
	stop := flushing(t, s.Flush)
	all.Wait()
	stop()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	var allowed, denied uint64
	for i, id := range ids {
		used := s.used(t, id)
		allowed, denied = allowed+used.Allowed, denied+used.Denied
		if got, err := s.Get(id); err != nil || !reflect.DeepEqual(got.Usage, used) {
			t.Errorf("saved usage %+v, but Get returned %+v, %v", used, got.Usage, err)
		}
		last := 0
		for j := range uses {
			if j%tokens == i && j%4 != 0 {
				last = j
			}
		}
		// The newest use is the last user's last use.
		if want := testTime.Add(time.Duration(last*users+users-1) * time.Microsecond); !used.Last.Time.Equal(
			want.Truncate(time.Microsecond)) {
			t.Errorf("the last use was at %s, want %s", used.Last.Time, want)
		}
	}
	wantDenied := uint64(users * ((uses + 3) / 4))
	if denied != wantDenied || allowed != uint64(users*uses)-wantDenied {
		t.Errorf("got %d allowed and %d denied, want %d and %d", allowed, denied, uint64(users*uses)-wantDenied,
			wantDenied)
	}
}

// TestFlushFails verifies that usage that can't be saved stays in memory, no matter how long
// saving fails.
func TestFlushFails(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	errDisk := errors.New("no space left on device")
	const tokens = 3*minChunk + 7
	var matches []Match
	var ids []token.ID
	for range tokens {
		token, credential := s.create(t)
		matches, ids = append(matches, s.must(t, credential)), append(ids, token.ID)
	}
	s.memory.saveError = errDisk
	// Requests continue during the failed save.
	s.memory.beforeSave = func() {
		for _, match := range matches {
			s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
		}
	}
	const rounds = 20
	for range rounds {
		for _, match := range matches {
			s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
		}
		if err := s.Flush(); !errors.Is(err, errDisk) {
			t.Fatalf("Flush returned %v, want the disk error", err)
		}
		if n := s.Pending(); n != tokens {
			t.Fatalf("%d tokens are pending, want %d", n, tokens)
		}
	}
	s.memory.saveError, s.memory.beforeSave = nil, nil
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if used := s.used(t, id); used.Allowed != rounds || used.Denied != rounds {
			t.Fatalf("saved usage %+v, want %d allowed and denied", used, rounds)
		}
	}
	if s.Pending() != 0 {
		t.Error("some counts were not saved")
	}
	// Without new counts, a flush writes nothing.
	s.memory.called()
	if err := s.Flush(); err != nil || s.memory.called()["SaveUsage"] != 0 {
		t.Errorf("an empty flush wrote usage or failed: %v", err)
	}
}

// TestCountDuringSave verifies that a request counted during a save is saved by the next
// flush.
func TestCountDuringSave(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	s.memory.beforeSave = func() {
		s.memory.beforeSave = nil
		s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	}
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	for i := range uint64(2) {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if used := s.used(t, token.ID); used.Allowed != i+1 {
			t.Errorf("after flush %d, %d requests are saved", i+1, used.Allowed)
		}
	}
}

// TestDeleteDuringSave verifies that saving usage after its token was deleted doesn't store
// it.
func TestDeleteDuringSave(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime})
	s.memory.beforeSave = func() {
		if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
			t.Error(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(s.memory.used) != 0 {
		t.Error("usage was saved for a deleted token")
	}
}

// TestCountsSaturate verifies that counts stop at maxCount. If a count wrapped around to zero,
// the limits based on it would no longer work.
func TestCountsSaturate(t *testing.T) {
	t.Parallel()
	for _, base := range []uint64{math.MaxInt64 - 3, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1,
		math.MaxUint64} {
		s := openTestStore(t)
		token, credential := s.create(t)
		s.memory.used[token.ID] = EncodeUsage(token.ID, Usage{Allowed: base, Denied: base})
		match := s.must(t, credential)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
					s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
				}
			})
		}
		all.Wait()
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if used := s.used(t, token.ID); used.Allowed != maxCount || used.Denied != maxCount {
			t.Errorf("starting at %d: got %d allowed and %d denied, want the maximum", base, used.Allowed, used.Denied)
		}
	}
}

// TestUserAgent verifies that user agents are truncated and stripped of control characters
// that could affect a display.
func TestUserAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"short":                  {"curl/8.9", "curl/8.9"},
		"empty":                  {"", ""},
		"maximum length":         {strings.Repeat("a", 256), strings.Repeat("a", 256)},
		"too long":               {strings.Repeat("a", 5000), strings.Repeat("a", 256)},
		"cut inside a character": {strings.Repeat("a", 255) + "é", strings.Repeat("a", 255)},
		"invalid UTF-8":          {"a\xffb\xc3", "ab"},
		"escape":                 {"a\x1b[2Jb", "a[2Jb"},
		"C1 control":             {"a\u009b2Jb", "a2Jb"},
		"right-to-left":          {"a\u202eb", "ab"},
		"not Latin":              {"שלום 👩‍💻", "שלום 👩‍💻"},
		"a tab is removed":       {"a\tb", "ab"},
	} {
		s := openTestStore(t)
		token, credential := s.create(t)
		s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime, UserAgent: c[0]})
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if used := s.used(t, token.ID); used.Last.UserAgent != c[1] {
			t.Errorf("%s: user agent stored as %q, want %q", name, used.Last.UserAgent, c[1])
		}
	}
}

// TestFlushInterval verifies that the store flushes in the background.
func TestFlushInterval(t *testing.T) {
	t.Parallel()
	backend := newMemory()
	store, err := Open(backend, Options{FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s := &testStore{store, backend, nil}
	token, credential := s.create(t)
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: s.Now()})
	eventually(t, "the request has been saved", func() bool { return s.used(t, token.ID).Allowed == 1 })
}

// TestPace verifies that flushing takes at most a hundredth of the time and that the pause is
// between 1 and 15 flush intervals.
func TestPace(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		0: 2 * time.Second, 20 * time.Millisecond: 2 * time.Second, 21 * time.Millisecond: 2100 * time.Millisecond,
		299 * time.Millisecond: 29_900 * time.Millisecond, 301 * time.Millisecond: 30 * time.Second,
		time.Hour: 30 * time.Second,
	} {
		if got := pace(took, 2*time.Second); got != want {
			t.Errorf("after a flush of %s, the pause is %s, want %s", took, got, want)
		}
	}
}

// TestFlushOfHalfFullJournal verifies that the store flushes early if the journal is half
// full.
func TestFlushOfHalfFullJournal(t *testing.T) {
	t.Parallel()
	backend := newMemory()
	store, err := Open(backend, Options{FlushInterval: time.Hour})
	check(t, err)
	defer store.Close()
	s := &testStore{store, backend, nil}
	token, credential := s.create(t)
	match := s.must(t, credential)
	for range 4096 { // each takes more than 1 KiB, so one of the four rings becomes half full
		s.CountAllowed(match, "a:b", LastUse{Time: s.Now(), Route: strings.Repeat("r", maxRouteLength)})
	}
	eventually(t, "the requests are saved", func() bool { return s.used(t, token.ID).Allowed > 0 })
}

// eventually waits until is returns true, and fails the test if that takes too long.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}
