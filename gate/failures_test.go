package gate

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestFailureLimit(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	limit := NewFailureLimit(3, time.Minute)
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, step := range []struct {
		ip    netip.Addr
		after time.Duration
		wait  time.Duration
	}{
		{here, 0, 0},
		{here, 0, 0},
		{here, 0, 0},
		{here, 0, 20 * time.Second},
		{netip.MustParseAddr("::ffff:192.0.2.1"), 0, 20 * time.Second}, // the same address
		{there, 0, 0},
		{here, 19 * time.Second, time.Second}, // refused failures don't count
		{here, 20 * time.Second, 0},
		{here, 20 * time.Second, 20 * time.Second},
		{here, 10 * time.Minute, 0},
		{here, 10 * time.Minute, 0},
		{here, 10 * time.Minute, 0},
		{here, 10 * time.Minute, 20 * time.Second},
		{here, -time.Hour, 20 * time.Second}, // setting the clock back neither clears failures nor locks anyone out
		{here, 20*time.Second - time.Hour, 0},
	} {
		if got := limit.fail(step.ip, start.Add(step.after)); got != step.wait {
			t.Errorf("%v after %v: got wait %v, want %v", step.ip, step.after, got, step.wait)
		}
	}
}

// Only refusals that may be due to guessing count, and a valid token always works.
func TestWhichRefusalsCountAsFailures(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	for name, test := range map[string]struct {
		request *Request
		counts  bool
	}{
		"malformed":     {request(tokens.malformed, nil), true},
		"unknown":       {request(tokens.unknown, nil), true},
		"wrong kind":    {request(tokens.admin, nil), true},
		"missing":       {request("", func(r *Request) { r.Authorization = nil }), false},
		"two spaces":    {request(" x", nil), false},
		"expired":       {request(tokens.expired, nil), false},
		"revoked":       {request(tokens.revoked, nil), false},
		"disabled":      {request(tokens.disabled, nil), false},
		"not yet valid": {request(tokens.early, nil), false},
		"scope":         {request(tokens.reader, func(r *Request) { r.Method = "POST" }), false},
	} {
		g := newTestGate(t, func(c *Config) { c.Failures = NewFailureLimit(2, time.Minute) })
		for range 2 {
			if d := decide(g, tokens, test.request); d.Refusal.Code == TooManyFailures {
				t.Errorf("%s: the failure limit was reached too early", name)
			}
		}
		if d := decide(g, tokens, test.request); (d.Refusal.Code == TooManyFailures) != test.counts {
			t.Errorf("%s: the third request is refused as %q, want counted %v", name, d.Refusal.Code, test.counts)
		}
		if d := decide(g, tokens, request(tokens.good, nil)); d.Refused() {
			t.Errorf("%s: a valid token was refused: %s", name, d.Refusal.Code)
		}
	}
}

// TestStrayTokensCount checks that a token outside the Authorization header counts as a
// failure, whatever the gate decides about the request, and that tokens whose secret matched
// keep working.
func TestStrayTokensCount(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	stray := func(change func(*Request)) func(*Request) {
		return func(r *Request) {
			r.StrayToken = true
			if change != nil {
				change(r)
			}
		}
	}
	without := stray(func(r *Request) { r.Authorization = nil })
	for name, test := range map[string]struct {
		request *Request
		then    string // the refusal after too many failures
	}{
		"missing":    {request("", without), "429 too_many_failures"},
		"unknown":    {request(tokens.unknown, stray(nil)), "429 too_many_failures"},
		"in the URL": {request(tokens.good, stray(func(r *Request) { r.TokenInURL = true })), "400 token_in_url"},
		"good":       {request(tokens.good, stray(nil)), ""},
		"without scope": {request(tokens.reader, stray(func(r *Request) { r.Method = "POST" })),
			"403 insufficient_scope"},
		"expired": {request(tokens.expired, stray(nil)), "401 expired_token"},
	} {
		g := newTestGate(t, func(c *Config) { c.Failures = NewFailureLimit(2, time.Minute) })
		for range 2 {
			if d := decide(g, tokens, test.request); d.Refusal.Code == TooManyFailures {
				t.Errorf("%s: the failure limit was reached too early", name)
			}
		}
		if got := refusalText(decide(g, tokens, test.request).Refusal); got != test.then {
			t.Errorf("%s: the third request is refused as %q, want %q", name, got, test.then)
		}
		if d := decide(g, tokens, request(tokens.unknown, nil)); d.Refusal.Code != TooManyFailures {
			t.Errorf("%s: the stray tokens didn't count: got refusal %q", name, d.Refusal.Code)
		}
		if d := decide(g, tokens, request(tokens.good, nil)); d.Refused() {
			t.Errorf("%s: a valid token was refused: %s", name, d.Refusal.Code)
		}
	}
	g := newTestGate(t, nil) // without a limit
	if d := decide(g, tokens, request("", without)); d.Refusal.Code != MissingToken {
		t.Errorf("without a limit: got refusal %q, want missing_token", d.Refusal.Code)
	}
}

func TestFailureLimitCountsNetworks(t *testing.T) {
	t.Parallel()
	now := time.Now()
	limit := NewFailureLimit(1, time.Minute)
	for address, refused := range map[string]bool{"2001:db8::1": false, "2001:db8:0:1::1": false} {
		if got := limit.fail(netip.MustParseAddr(address), now) > 0; got != refused {
			t.Errorf("%s: got refused %v, want %v", address, got, refused)
		}
	}
	if limit.fail(netip.MustParseAddr("2001:db8::ffff:1%eth0"), now) == 0 {
		t.Error("two addresses in the same /64 have separate limits")
	}
}

func TestFailureLimitIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	const allowed = 100
	now, limit := time.Now(), NewFailureLimit(allowed, time.Hour)
	var mu sync.Mutex
	var wg sync.WaitGroup
	passed := 0
	for range 8 {
		wg.Go(func() {
			for range allowed {
				if limit.fail(netip.MustParseAddr("192.0.2.1"), now) == 0 {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed != allowed {
		t.Errorf("got %d failures within the limit, want %d", passed, allowed)
	}
}

func TestFailureLimitBoundsMemory(t *testing.T) {
	t.Parallel()
	now, limit := time.Now(), NewFailureLimit(1, time.Minute)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var raw [16]byte
	for i := range uint64(1_000_000) {
		binary.BigEndian.PutUint64(raw[:], 0x20010db8_00000000|i)
		limit.fail(netip.AddrFrom16(raw), now)
	}
	for i := range limit.shards {
		if n := len(limit.shards[i].clearAt); n > maxFailureAddresses {
			t.Fatalf("a shard holds %d addresses, want at most %d", n, maxFailureAddresses)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("a million addresses take %d MiB", int64(after.HeapAlloc-before.HeapAlloc)>>20)
	runtime.KeepAlive(limit)
}
