package tokenstore

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestResourceUses verifies that the last day of each pattern is kept, across flushes and in any
// order, and that there is a limit.
func TestResourceUses(t *testing.T) {
	t.Parallel()
	a := []ResourceUse{{"block/db", 3}, {"unikernel/web", 5}}
	b := []ResourceUse{{"block/a", 4}, {"block/db", 2}, {"unikernel/web", 6}}
	want := []ResourceUse{{"block/a", 4}, {"block/db", 3}, {"unikernel/web", 6}}
	for _, sum := range [][]ResourceUse{plusResources(a, b), plusResources(b, a)} {
		if !slices.Equal(sum, want) {
			t.Errorf("got %v, want %v", sum, want)
		}
	}
	if got := plusResources(nil, nil); got != nil {
		t.Errorf("got %v for nothing", got)
	}
	var many []ResourceUse
	for n := range 600 {
		many = append(many, ResourceUse{fmt.Sprintf("block/%03d", n), Day(n)})
	}
	got := plusResources(many, []ResourceUse{{"block/new", 1000}})
	if len(got) != maxResourceUses || got[0].Pattern != "block/089" || got[len(got)-1].Pattern != "block/new" {
		t.Errorf("got %d patterns from %v to %v", len(got), got[0], got[len(got)-1])
	}
	usage := Usage{Resources: got}
	if again, err := DecodeUsage(testID, EncodeUsage(testID, usage)); err != nil || !reflect.DeepEqual(again, usage) {
		t.Errorf("a round trip returned %v, error %v", again, err)
	}
}

// TestManyPatterns verifies that a request is counted even if its patterns don't fit in the
// journal, and that no pattern is cut.
func TestManyPatterns(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	tok, credential := s.create(t)
	var patterns []string
	for n := range 20 {
		patterns = append(patterns, fmt.Sprintf("block/%02d-", n)+strings.Repeat("x", 100))
	}
	s.CountAllowedOn(s.must(t, credential), "a:b", patterns, LastUse{Time: s.Now()})
	found, err := s.Get(tok.ID)
	check(t, err)
	if n := len(found.Usage.Resources); n != 9 || found.Usage.Allowed != 1 {
		t.Errorf("got %d patterns and %d requests", n, found.Usage.Allowed)
	}
	for _, use := range found.Usage.Resources {
		if !slices.Contains(patterns, use.Pattern) {
			t.Errorf("got the pattern %s", use.Pattern)
		}
	}
}
