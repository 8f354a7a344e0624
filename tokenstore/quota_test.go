package tokenstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// quotaTest tests the quota of one token.
type quotaTest struct {
	*testing.T
	*testStore
	token      *token.Token
	credential token.Credential
}

func newQuotaTest(t *testing.T, requests int64, period token.Period) *quotaTest {
	t.Helper()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *token.Draft) {
		d.ExpiresIn = months(24)
		d.Quota = &token.Quota{Requests: requests, Period: period}
	})
	return &quotaTest{t, s, token, credential}
}

// pass takes a request from the quota and counts it as allowed.
func (q *quotaTest) pass() {
	q.Helper()
	match := q.must(q.T, q.credential)
	if _, standing, err := q.TakeQuota(match, q.Now()); err != nil || standing.Exceeded {
		q.Fatalf("at %s: TakeQuota returned %+v, %v, want a request left", q.Now(), standing, err)
	}
	q.CountAllowed(match, "unikernel:list", LastUse{Time: q.Now()})
}

// exceeded verifies that the quota is exhausted.
func (q *quotaTest) exceeded() {
	q.Helper()
	match := q.must(q.T, q.credential)
	_, standing, err := q.TakeQuota(match, q.Now())
	if peeked, _ := q.QuotaStanding(match.Token, q.Now()); err != nil || !standing.Exceeded ||
		standing.Remaining != 0 || peeked != standing {
		q.Errorf("at %s: TakeQuota returned %+v and QuotaStanding %+v, %v, want an exhausted quota", q.Now(), standing,
			peeked, err)
	}
}

// left verifies the number of requests left in the quota.
func (q *quotaTest) left(want int64) {
	q.Helper()
	if standing, err := q.QuotaStanding(PrincipalOf(q.token), q.Now()); err != nil || standing.Remaining != want {
		q.Errorf("at %s: got quota standing %+v, want %d remaining, error %v", q.Now(), standing, want, err)
	}
}

func (q *quotaTest) at(text string) {
	q.Helper()
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.Fatal(err)
	}
	q.clock.set(now)
}

// restart closes the store and opens a new one with the same backend.
func (q *quotaTest) restart() {
	q.Helper()
	if err := q.Close(); err != nil {
		q.Fatal(err)
	}
	q.testStore = reopen(q.T, q.memory, q.clock)
}

func TestMonthlyQuota(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 3, token.PeriodMonth)
	q.at("2028-02-28T23:59:59Z")
	q.left(3)
	q.pass()
	q.restart()
	q.left(2)
	q.at("2028-02-29T23:59:59Z")
	q.pass()
	q.pass()
	q.exceeded()
	q.restart()
	q.exceeded()
	match := q.must(t, q.credential)
	if _, standing, _ := q.TakeQuota(match, q.Now()); standing.Reset != time.Second ||
		standing.Window != 29*24*time.Hour || standing.Limit != 3 {
		t.Errorf("unexpected quota standing %+v", standing)
	}
	q.at("2028-03-01T00:00:00Z")
	q.left(3)
	q.pass()
	q.at("2028-04-01T00:00:00Z") // a month later, in the same process
	q.pass()
	q.left(2)
}

func TestDailyQuota(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 2, token.PeriodDay)
	q.at("2027-03-20T23:59:59Z")
	q.pass()
	q.pass()
	q.exceeded()
	q.at("2027-03-21T00:00:00Z")
	q.pass()
	q.left(1)
	// A request that began before midnight takes from the new day's quota and doesn't reset
	// it.
	if got, err := q.QuotaStanding(PrincipalOf(q.token), q.Now().Add(-time.Second)); err != nil || got.Remaining != 1 ||
		got.Reset != 24*time.Hour+time.Second {
		t.Errorf("got quota standing %+v, %v, want 1 remaining", got, err)
	}
}

// TestQuotaOfOne verifies that a quota of one allows exactly one of a hundred concurrent
// requests.
func TestQuotaOfOne(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 1, token.PeriodDay)
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, standing, err := q.TakeQuota(q.must(t, q.credential), q.Now()); err == nil && !standing.Exceeded {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if n := passed.Load(); n != 1 {
		t.Errorf("%d requests passed, want 1", n)
	}
}

// TestQuotaIsExact verifies that exactly as many concurrent requests pass as the quota allows,
// even across a restart.
func TestQuotaIsExact(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 1000, token.PeriodMonth)
	var passed atomic.Int64
	for round := range 2 {
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 10 + round*100 {
					match := q.must(t, q.credential)
					reservation, standing, err := q.TakeQuota(match, q.Now())
					switch {
					case err != nil:
						t.Error(err)
					case standing.Exceeded:
					case passed.Load()%7 == 0: // as if the request body were too large
						reservation.Release()
						if _, standing, err = q.TakeQuota(match, q.Now()); err != nil || standing.Exceeded {
							continue
						}
						fallthrough
					default:
						passed.Add(1)
						q.CountAllowed(match, "unikernel:list", LastUse{Time: q.Now()})
					}
				}
			})
		}
		all.Wait()
		q.restart()
	}
	if passed.Load() != 1000 {
		t.Errorf("%d requests passed, want 1000", passed.Load())
	}
	q.exceeded()
}

func TestRelease(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 1, token.PeriodDay)
	reservation, _, err := q.TakeQuota(q.must(t, q.credential), q.Now())
	if err != nil {
		t.Fatal(err)
	}
	q.exceeded()
	reservation.Release()
	q.pass()
	Reservation{}.Release()
	q.exceeded()
}

// TestQuotaCountsAllUse verifies that a quota set or changed in the middle of a period counts
// all of the period's allowed requests and none of the refused ones.
func TestQuotaCountsAllUse(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	q := &quotaTest{T: t, testStore: s}
	q.token, q.credential = s.create(t, func(d *token.Draft) { d.ExpiresIn = months(12) })
	use := func() {
		match := q.must(t, q.credential)
		q.CountAllowed(match, "unikernel:list", LastUse{Time: q.Now()})
		q.CountDenied(match, Refusal{Time: q.Now(), Scope: "unikernel:create", Code: "insufficient_scope"})
	}
	set := func(quota *token.Quota) {
		t.Helper()
		token, err := q.Edit(testPolicy, q.token.ID,
			token.Edit{Quota: func(*token.Quota) *token.Quota { return quota }}, testActor)
		if err != nil {
			t.Fatal(err)
		}
		q.token = token
	}
	q.at("2027-03-20T12:00:00Z")
	use()
	q.at("2027-03-21T12:00:00Z")
	use()
	set(&token.Quota{Requests: 3, Period: token.PeriodMonth})
	q.left(1)
	q.pass()
	q.exceeded()
	set(&token.Quota{Requests: 5, Period: token.PeriodMonth})
	q.left(2)
	q.pass()
	set(&token.Quota{Requests: 4, Period: token.PeriodDay})
	q.left(1)
	set(nil)
	use()
	set(&token.Quota{Requests: 6, Period: token.PeriodMonth})
	q.left(1)
	q.pass()
	q.exceeded()
}

// TestQuotaAfterClockSetBack sets the clock back after it ran ahead into the next month. It
// verifies that the current month's usage is preserved and that requests made while the clock
// was wrong count toward the next month.
func TestQuotaAfterClockSetBack(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 2, token.PeriodMonth)
	q.at("2027-03-31T12:00:00Z")
	q.pass()
	q.at("2027-04-30T12:00:00Z")
	q.pass()
	q.at("2027-03-31T12:00:00Z")
	q.left(1) // the recorded time is still in effect
	if _, _, err := q.AcceptClock(testActor); err != nil {
		t.Fatal(err)
	}
	q.left(1)
	q.pass()
	q.exceeded()
	q.at("2027-04-01T00:00:00Z")
	q.left(1)
	q.pass()
	q.exceeded()
}

func TestQuotaWithUnreadableStore(t *testing.T) {
	t.Parallel()
	q := newQuotaTest(t, 2, token.PeriodMonth)
	match := q.must(t, q.credential)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.TakeQuota(match, q.Now()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("TakeQuota on a closed store: got error %v, want ErrUnavailable", err)
	}
	if _, err := q.QuotaStanding(match.Token, q.Now()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("QuotaStanding on a closed store: got error %v, want ErrUnavailable", err)
	}
}
