package tokenstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestScan verifies that Scan visits every token once across chunks, with its current usage,
// and that clones remain valid.
func TestScan(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	want := make(map[token.ID]TokenUsage)
	s.memory.do(func() {
		for i := range scanChunk + 7 {
			token := &token.Token{
				ID: token.ID([]byte(fmt.Sprintf("token%07d", i))),
				Terms: token.Terms{Kind: token.KindAPI, Account: "default",
					Scopes: token.Grants{"block:list", fmt.Sprint("x:", i)}[:1+i%2]}, Format: token.FormatNative,
				Prefix: "mm", Name: fmt.Sprint("name ", i),
				CreatedAt: testTime, Version: 1, Digest: sha256.Sum256([]byte{byte(i), byte(i >> 8)}),
			}
			if i%3 == 0 {
				token.Metadata = map[string]string{"number": fmt.Sprint(i)}
				token.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}
			usage := Usage{Allowed: uint64(i), Last: LastUse{Time: testTime.Truncate(time.Microsecond),
				IP: fmt.Sprint("192.0.2.", i%256), Route: "GET /"}}
			s.memory.put(token)
			s.memory.used[token.ID] = EncodeUsage(token.ID, usage)
			want[token.ID] = TokenUsage{Token: token, Usage: usage}
		}
	})
	used, credential := s.create(t)
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime})
	want[used.ID] = TokenUsage{Token: used,
		Usage: Usage{Allowed: 1, Last: LastUse{Time: testTime.Truncate(time.Microsecond)}}}

	got := make(map[token.ID]TokenUsage)
	err := s.Scan(t.Context(), func(t TokenUsage) bool {
		got[t.Token.ID] = t.Clone()
		return true
	})
	if err != nil || len(got) != len(want) {
		t.Fatalf("visited %d of %d tokens: %v", len(got), len(want), err)
	}
	for id, token := range want {
		if !reflect.DeepEqual(got[id], token) {
			t.Fatalf("got  %+v %+v\nwant %+v %+v", got[id].Token, got[id].Usage, token.Token, token.Usage)
		}
	}

	seen := 0
	err = s.Scan(t.Context(), func(TokenUsage) bool { seen++; return seen < 5 })
	if err != nil || seen != 5 {
		t.Errorf("a scan stopped by visit visited %d tokens, want 5; error %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen = 0
	err = s.Scan(ctx, func(TokenUsage) bool { cancel(); seen++; return true })
	if !errors.Is(err, context.Canceled) || seen > scanChunk {
		t.Errorf("a cancelled scan visited %d tokens and returned %v", seen, err)
	}
}

// TestScanBeforeSave verifies that a scan sees each count once if it begins while usage can't
// be saved, even if a flush could succeed during the scan.
func TestScanBeforeSave(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	s.memory.do(func() { s.memory.saveError = errors.New("full") })
	const tokens = 3
	for range tokens {
		_, credential := s.create(t)
		s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime})
	}
	seen := 0
	err := s.Scan(t.Context(), func(u TokenUsage) bool {
		seen++
		if u.Usage.Allowed != 1 {
			t.Errorf("token %d has %d requests, want 1", seen, u.Usage.Allowed)
		}
		s.memory.do(func() { s.memory.saveError = nil })
		if s.flusher.mu.TryLock() { // the lock that every flush takes
			defer s.flusher.mu.Unlock()
			if err := s.flush(); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil || seen != tokens {
		t.Errorf("visited %d of %d tokens: %v", seen, tokens, err)
	}
	if err := s.Flush(); err != nil {
		t.Errorf("flush after the scan: %v", err)
	}
}

// TestCloneSharesNothing verifies that a clone doesn't change when the Reader's record is
// overwritten.
func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	tok := fullToken()
	record := token.EncodeToken(tok)
	var r Reader
	read, err := r.Token(tok.ID, record)
	if err != nil {
		t.Fatal(err)
	}
	clone := read.Clone()
	clear(record)
	if !reflect.DeepEqual(clone, tok) {
		t.Errorf("got  %+v\nwant %+v", clone, tok)
	}
	metadata := maps.Clone(clone.Metadata)
	empty := token.EncodeToken(&token.Token{ID: tok.ID, Terms: token.Terms{Kind: token.KindAPI},
		Format: token.FormatNative, CreatedAt: testTime, Digest: tok.Digest, Version: 1})
	if read, err = r.Token(tok.ID, empty); err != nil || len(read.Metadata) > 0 || len(read.Scopes) > 0 ||
		len(read.AllowedIPs) > 0 || read.Name != "" {
		t.Errorf("the result contains data from the previous record: %+v, %v", read, err)
	}
	if !maps.Equal(metadata, clone.Metadata) {
		t.Error("the clone changed when the Reader was reused")
	}
}
