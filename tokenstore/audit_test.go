package tokenstore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

func (s *testStore) lastAudit(t testing.TB) AuditEntry {
	t.Helper()
	entries, _, err := s.Audit(AuditPage{Limit: 1})
	if err != nil || len(entries) == 0 {
		t.Fatalf("reading the newest audit entry: got %v, %v", entries, err)
	}
	return entries[0]
}

// TestAuditPages verifies that every change adds an audit entry and that paging returns each
// entry once, even if entries are added between pages.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, _ := s.create(t)
	for i := range 9 {
		name := fmt.Sprint("name ", i)
		if _, err := s.Edit(testPolicy, tok.ID, token.Edit{Name: &name}, testActor); err != nil {
			t.Fatal(err)
		}
	}
	var actions []string
	page := AuditPage{Limit: 4, Match: func(e AuditEntry) bool { return e.TokenID == tok.ID }}
	for {
		entries, next, err := s.Audit(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			actions = append(actions, e.Action+" "+e.Changes["name"])
			if e.Actor != testActor.Name || e.Address != testActor.Address {
				t.Errorf("entry has the wrong actor: %+v", e)
			}
		}
		s.create(t) // adds a newer entry, for another token
		if page.Before = next; next == nil {
			break
		}
	}
	want := []string{"edit name 7 -> name 8", "edit name 6 -> name 7"}
	if len(actions) != 10 || !slices.Equal(actions[:2], want) || actions[8] != "edit test -> name 0" ||
		actions[9] != "create " {
		t.Errorf("unexpected actions %q", actions)
	}
}

// TestKeepAudit verifies that pruning deletes all entries beyond the retention and no others.
func TestKeepAudit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keep *token.Lifetime
		want int
	}{
		"by default": {nil, 3},
		"two years":  {new(months(24)), 2},
		"longer":     {new(months(36)), 3},
		"shorter":    {new(seconds(3600)), 1},
		"unlimited":  {&token.Lifetime{}, 3},
	} {
		s := openTestStore(t)
		if test.keep != nil {
			s.KeepAudit(*test.keep)
		}
		s.memory.do(func() {
			for _, age := range []time.Duration{2*365*24*time.Hour + 48*time.Hour, 24 * time.Hour, time.Minute} {
				s.memory.audit = append(s.memory.audit, AuditEntry{Time: testTime.Add(-age)})
			}
		})
		if _, err := s.prune(); err != nil {
			t.Fatal(err)
		}
		s.memory.do(func() {
			if got := len(s.memory.audit); got != test.want {
				t.Errorf("%s: %d entries are left, want %d", name, got, test.want)
			}
		})
	}
}
