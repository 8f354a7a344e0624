package bolt

import (
	"slices"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// pruneSignal is a backend that sends a signal when the store is about to decide whether to
// prune.
type pruneSignal struct {
	*Backend
	begins chan struct{}
}

func (p pruneSignal) SetTimes(times tokenstore.State, entry *tokenstore.AuditEntry) error {
	select {
	case p.begins <- struct{}{}:
	default:
	}
	return p.Backend.SetTimes(times, entry)
}

// runWithClock opens a store whose clock shows now, waits until it starts to prune, calls do
// and closes the store.
func runWithClock(t *testing.T, path string, now time.Time, do func(*tokenstore.Store)) {
	t.Helper()
	b := pruneSignal{mustOpen(t, path), make(chan struct{}, 1)}
	s, err := tokenstore.Open(b, tokenstore.Options{Clock: tokenstore.ClockFunc(func() time.Time { return now }),
		FlushInterval: time.Hour})
	check(t, err)
	twoYears, err := token.ParseLifetime("2y")
	check(t, err)
	s.KeepAudit(twoYears)
	<-b.begins
	do(s)
	check(t, s.Close()) // waits until pruning is done
}

// TestWrongClockLosesNothing opens a store with a clock that is years ahead or behind, and
// then with the correct clock. The audit log, history, quota and idempotency keys must remain
// unchanged.
func TestWrongClockLosesNothing(t *testing.T) {
	t.Parallel()
	year, err := token.ParseLifetime("1y")
	check(t, err)
	draft := token.Draft{
		Kind: token.KindAPI, Name: "test", Preset: "full", Expiry: token.Expiry{ExpiresIn: year},
		Quota: &token.Quota{Requests: 10, Period: token.PeriodMonth},
	}
	request := tokenstore.Request{Key: "key", Body: []byte("body")}
	later := testTime.Add(2 * time.Hour)
	for name, clocks := range map[string][]time.Time{
		"correct":        {testTime.Add(time.Hour)},
		"10 years ahead": {testTime.AddDate(10, 0, 0)},
		"ahead repeatedly": {testTime.AddDate(3, 0, 0), testTime.AddDate(3, 0, 0), testTime.AddDate(3, 0, 1),
			testTime.AddDate(9, 0, 0)},
		"1970":                  {time.Unix(0, 0)},
		"1970, then ahead":      {time.Unix(0, 0), testTime.AddDate(10, 0, 0)},
		"a month ahead, behind": {testTime.AddDate(0, 1, 0), testTime.AddDate(0, -1, 0)},
		"latest possible time":  {time.Date(9999, 12, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			var tok testToken
			runWithClock(t, path, testTime, func(s *tokenstore.Store) {
				created, secret, _, err := s.CreateOnce(testPolicy, draft, testActor, request)
				check(t, err)
				credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
				check(t, err)
				tok = testToken{created, credential}
				match, err := s.Authenticate(credential, testTime)
				check(t, err)
				for i := range 7 {
					s.CountAllowed(match, "a:b",
						tokenstore.LastUse{Time: testTime.Add(time.Duration(i-6) * 24 * time.Hour)})
				}
			})
			for _, wrong := range clocks {
				runWithClock(t, path, wrong, func(s *tokenstore.Store) {
					match, err := s.Authenticate(tok.credential, s.Now())
					check(t, err)
					if match.Status == token.StatusActive {
						return
					}
					s.CountDenied(match, tokenstore.Refusal{Time: s.Now(), Scope: "a:b", Code: "expired_token"})
				})
			}
			runWithClock(t, path, later, func(s *tokenstore.Store) {
				_, _, err := s.AcceptClock(testActor)
				check(t, err)
				match, err := s.Authenticate(tok.credential, s.Now())
				if err != nil || match.Status != token.StatusActive {
					t.Errorf("got token status %v, err %v, want active", match.Status, err)
				}
				if again, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil ||
					!repeated || again.ID != tok.ID {
					t.Errorf("repeating the request: got repeated %v, err %v, want the same token", repeated, err)
				}
				for step, want := range map[tokenstore.Step]int{tokenstore.StepHour: 7, tokenstore.StepDay: 7} {
					points, err := s.Series(tok.ID, step, time.Time{}, later)
					if err != nil || len(points) != want {
						t.Errorf("step %d: got %d points, want %d, err %v", step, len(points), want, err)
					}
				}
				if standing, err := s.QuotaStanding(match.Token, later); err != nil || standing.Remaining != 3 {
					t.Errorf("got %d requests remaining in the quota, want 3; err %v", standing.Remaining, err)
				}
				entries, _, err := s.Audit(tokenstore.AuditPage{Limit: 100})
				check(t, err)
				if !slices.ContainsFunc(entries, func(e tokenstore.AuditEntry) bool { return e.Action == "create" }) {
					t.Errorf("the audit log lost its first entry: got %+v", entries)
				}
			})
		})
	}
}
