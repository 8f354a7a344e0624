package tokenstore

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestRefusals verifies that the last 100 refusals are returned, newest first, whether or not
// they have been saved, also after the process was killed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	other, _ := s.create(t)
	match := s.must(t, credential)
	var want []Refusal // newest first
	count := func(n int) {
		for range n {
			r := Refusal{Time: testTime.Add(time.Duration(len(want)) * time.Second), Method: "POST",
				Path: fmt.Sprintf("/api/unikernel/%d", len(want)), Scope: "unikernel:create",
				Code: "insufficient_scope", IP: "203.0.113.7", UserAgent: "curl/8.9"}
			s.CountDenied(match, r)
			want = slices.Insert(want, 0, r)
		}
	}
	compare := func(when string) {
		t.Helper()
		got, err := s.Refusals(tok.ID)
		if want := want[:min(len(want), MaxRefusals)]; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %d refusals %+v, %v\nwant %d %+v", when, len(got), got, err, len(want), want)
		}
	}
	for i, n := range []int{1, 3, 60, 70, 250, 1} {
		count(n)
		compare(fmt.Sprint(i, ", in memory"))
		if i%2 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			compare(fmt.Sprint(i, ", saved"))
		}
	}
	if got, err := s.Refusals(other.ID); err != nil || len(got) > 0 {
		t.Errorf("another token: got refusals %+v, %v", got, err)
	}
	if used, err := s.Get(tok.ID); err != nil || used.Usage.Refusals != nil || used.Usage.Denied != uint64(len(want)) {
		t.Errorf("got usage %+v, %v", used.Usage, err)
	}
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refusals(tok.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted token: got error %v", err)
	}
}

// TestRefusalText verifies that text from a client is shortened and made printable.
func TestRefusalText(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	s.CountDenied(s.must(t, credential), Refusal{Time: testTime, Method: strings.Repeat("M", 100),
		Path: "/" + strings.Repeat("é", 300), Code: "x", UserAgent: "a\x1b[31m\xffb" + strings.Repeat("c", 300)})
	got, err := s.Refusals(tok.ID)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	r := got[0]
	if r.Method != strings.Repeat("M", 32) || r.Path != "/"+strings.Repeat("é", 127) ||
		!strings.HasPrefix(r.UserAgent, "a[31mbc") || len(r.UserAgent) > 256 {
		t.Errorf("got %+v", r)
	}
}

// TestRefusalsAreBounded verifies that a batch that can't be saved keeps a bounded number of
// refusals and still counts all requests.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBatch(1)
	entry := make([]byte, 8)
	for i := range maxBatchRefusals/MaxRefusals + 10 {
		var id token.ID
		copy(id[:], fmt.Sprint(i))
		for range MaxRefusals + 1 {
			b.addRefusal(b.use(id), 1, entry)
		}
	}
	n := 0
	for i := range b.uses {
		n += len(b.uses[i].refused)
	}
	if n != maxBatchRefusals || b.refused != n {
		t.Errorf("the batch keeps %d refusals and reports %d, want %d", n, b.refused, maxBatchRefusals)
	}
}

// TestTotals verifies that the totals include every API token, also deleted ones, and no admin
// token.
func TestTotals(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	_, second := s.create(t)
	admin, _, err := s.Create(testPolicy, token.Draft{Kind: token.KindAdmin, Name: "ops",
		Expiry: token.Expiry{ExpiresIn: seconds(3600)}}, testActor)
	if err != nil {
		t.Fatal(err)
	}
	count := func() {
		for _, c := range []token.Credential{credential, second} {
			match := s.must(t, c)
			s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
			s.CountAllowed(match, "unikernel:create", LastUse{Time: testTime.Add(-50 * time.Hour)})
			s.CountDenied(match, Refusal{Time: testTime, Code: "expired_token"})
		}
		s.CountAllowed(Match{Token: Principal{ID: admin.ID}}, "", LastUse{Time: testTime})
		s.CountDenied(Match{Token: Principal{ID: admin.ID}}, Refusal{Time: testTime, Code: "ip_denied"})
	}
	want := func(n uint64) []Point {
		return []Point{{DayOf(testTime.Add(-50 * time.Hour)).Start(), "", OutcomeOK, n},
			{DayOf(testTime).Start(), "", "expired_token", n}, {DayOf(testTime).Start(), "", OutcomeOK, n}}
	}
	compare := func(when string, n uint64) {
		t.Helper()
		got, err := s.Totals(StepDay, time.Time{}, testTime.Add(time.Hour))
		if err != nil || !slices.Equal(got, want(n)) {
			t.Errorf("%s: got %v, %v\nwant %v", when, got, err, want(n))
		}
	}
	count()
	compare("in memory", 2)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	compare("saved", 2)
	count()
	compare("partly saved", 4)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	compare("after a deletion", 4)
	hour := testTime.Truncate(time.Hour)
	if got, err := s.Totals(StepHour, hour, hour.Add(time.Hour)); err != nil || len(got) != 2 {
		t.Errorf("one hour: got %v, %v, want two points", got, err)
	}
}
