// Package backendtest tests whether a [tokenstore.Backend] implements the interface as
// documented. Every backend should run these tests from its own package:
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, backendtest.Kind{Open: open})
//	}
//
// Run this test with -race as well. Since the tests can't measure how long a call waits, the
// backend's author must make sure of two things: Token, IDOf and Usage don't wait for the
// network, and the cost of IDOf doesn't depend on how close a digest is to a stored one.
package backendtest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Kind describes a kind of backend. Only Open is required. Tests that need another field are
// skipped if that field is not set.
type Kind struct {
	// Open opens the store in a directory, creating it if there is none. Opening the same
	// directory again after Close simulates a new process. A backend that doesn't use files
	// can use the directory as the store's name.
	Open func(t testing.TB, dir string) tokenstore.Backend
	// Kill returns a directory in which the store can be opened as if the process using dir
	// had just been killed. The directory may contain a copy of the store, or be dir itself.
	Kill func(t testing.TB, dir string) string
	// Restore creates a store from a backup in a new directory.
	Restore func(t testing.TB, backup io.Reader, dir string)
	// Check fails the test if a closed store is inconsistent.
	Check func(t testing.TB, dir string)
	// Damage makes a record of an open store unreadable. It returns false if the test can't
	// damage this kind of record.
	Damage func(t testing.TB, b tokenstore.Backend, record Record, id token.ID) bool
	// PruneLimit is the maximum number of records of one kind that Prune deletes in one call,
	// or 0 if there is no practical limit.
	PruneLimit int
}

// Record is a kind of record for [Kind].Damage.
type Record int

const (
	// TokenRecord is the record of the token itself.
	TokenRecord Record = iota + 1
	// UsageRecord is the record with the token's totals.
	UsageRecord
	// AuditRecord is the newest audit entry.
	AuditRecord
)

// Run tests a kind of backend.
func Run(t *testing.T, kind Kind) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"token": testToken, "change": testChange, "digests": testDigests, "refusals": testRefusals, "ended": testEnded,
		"requests": testRequests,
		"list":     testList, "pages": testPages, "scan": testScan,
		"usage": testUsage, "refused requests": testRefusedRequests, "totals": testTotals,
		"usage of deleted": testUsageOfDeleted, "damage": testDamage,
		"audit": testAudit, "prune": testPrune, "prune days": testPruneDays,
		"state": testState, "backup": testBackup, "close": testClose, "close waits": testCloseWaits,
		"close during use": testCloseDuringUse, "concurrency": testConcurrency,
		"store": testStore, "kill": testKill, "ended secrets": testEndedSecrets,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(open(t, kind, t.TempDir()))
		})
	}
}

// suite tests one open backend.
type suite struct {
	tokenstore.Backend
	*testing.T
	kind Kind
	dir  string
}

func open(t *testing.T, kind Kind, dir string) *suite {
	t.Helper()
	s := &suite{kind.Open(t, dir), t, kind, dir}
	t.Cleanup(func() {
		s.check(s.Close())
		if s.kind.Check != nil && !t.Failed() {
			s.kind.Check(t, s.dir)
		}
	})
	return s
}

// reopen closes the backend and opens it again, as a new process would.
func (s *suite) reopen() {
	s.Helper()
	s.check(s.Close())
	s.Backend = s.kind.Open(s, s.dir)
}

// killed returns the backend as a new process would open it if this one were killed now. It
// returns nil if Kind.Kill is not set.
func (s *suite) killed() *suite {
	s.Helper()
	if s.kind.Kill == nil {
		return nil
	}
	return open(s.T, s.kind, s.kind.Kill(s, s.dir))
}

func (s *suite) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

var (
	now   = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)
	today = tokenstore.DayOf(now)
)

func digest(text string) token.Digest { return sha256.Sum256([]byte(text)) }

func idOf(i int) token.ID { return token.ID([]byte(fmt.Sprintf("token%07d", i))) }

// newToken returns a token with only the required fields.
func newToken(i int) *token.Token {
	return &token.Token{
		ID: idOf(i), Terms: token.Terms{Kind: token.KindAPI}, Format: token.FormatNative, Digest: digest(fmt.Sprint(i)),
		CreatedAt: now, Version: 1,
	}
}

// wholeToken returns a token with every field set.
func wholeToken(i int) *token.Token {
	tok := newToken(i)
	tok.Name, tok.Account, tok.Prefix, tok.CreatedBy = "näme", "alice", "mm", "caddy-admin"
	tok.Scopes = token.Grants{"a:b", "*"}
	tok.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	tok.Metadata = map[string]string{"team": "x", "empty": ""}
	tok.RateLimit = token.RateLimit{Requests: 60, Window: time.Minute}
	tok.Quota = token.Quota{Requests: 1000, Period: token.PeriodMonth}
	tok.PreviousDigest = digest(fmt.Sprint("previous", i))
	for n, at := range []*time.Time{&tok.NotBefore, &tok.ExpiresAt, &tok.RevokedAt, &tok.DisabledAt, &tok.UpdatedAt,
		&tok.SecretMadeAt, &tok.PreviousValidUntil} {
		*at = now.Truncate(time.Second).AddDate(0, 0, n)
	}
	tok.Version = 1 << 40
	return tok
}

// apply makes a change without looking at the stored token.
func (s *suite) apply(id token.ID, change tokenstore.Change) error {
	change.Audit.TokenID = id
	if change.Audit.Time.IsZero() {
		change.Audit.Time = now
	}
	_, err := s.Apply(id, now, func(*token.Token) (tokenstore.Change, error) { return change, nil })
	return err
}

func (s *suite) put(tokens ...*token.Token) {
	s.Helper()
	for _, token := range tokens {
		s.check(s.apply(token.ID, tokenstore.Change{Token: token}))
	}
}

func (s *suite) remove(id token.ID) {
	s.Helper()
	s.check(s.apply(id, tokenstore.Change{}))
}

// edit edits a stored token.
func (s *suite) edit(id token.ID, edit func(*token.Token)) error {
	_, err := s.Apply(id, now, func(old *token.Token) (tokenstore.Change, error) {
		if old == nil {
			return tokenstore.Change{}, tokenstore.ErrNotFound
		}
		token := *old
		token.Version++
		edit(&token)
		return tokenstore.Change{Token: &token, Audit: tokenstore.AuditEntry{Time: now, Action: "edit", TokenID: id}},
			nil
	})
	return err
}

func (s *suite) list(order tokenstore.Order, after *tokenstore.Position, descending bool) (tokens []*token.Token) {
	s.Helper()
	s.check(s.List(order, after, descending, func(token *token.Token) bool {
		tokens = append(tokens, token)
		return true
	}))
	return tokens
}

// entries returns all audit entries, newest first.
func (s *suite) entries() (entries []tokenstore.AuditEntry) {
	s.Helper()
	s.check(s.Audit(nil, func(_ tokenstore.AuditPosition, entry tokenstore.AuditEntry) bool {
		entries = append(entries, entry)
		return true
	}))
	return entries
}

func (s *suite) state() tokenstore.State {
	s.Helper()
	state, err := s.State()
	s.check(err)
	for _, at := range []*time.Time{&state.Recorded, &state.Elapsed, &state.Announced, &state.BackedUp} {
		*at = at.UTC()
	}
	return state
}

// content is a store's readable content, without usage.
type content struct {
	Tokens []*token.Token
	Audit  []tokenstore.AuditEntry
	State  tokenstore.State
}

func (s *suite) content() content {
	s.Helper()
	return content{s.list(tokenstore.OrderCreated, nil, false), s.entries(), s.state()}
}
