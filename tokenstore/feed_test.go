package tokenstore

import (
	"reflect"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestFeed verifies that a feed reports changes and used tokens once, only while it is open, and
// that it summarizes long lists.
func TestFeed(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	match := s.must(t, credential)
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	feed, other := s.Feed(), s.Feed()
	defer other.Close()
	if got := feed.Poll(); !reflect.DeepEqual(got, Activity{}) {
		t.Errorf("new feed: got %+v", got)
	}
	for range 3 {
		s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	}
	if _, err := s.Disable(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	<-feed.Changed()
	want := Activity{Changes: []ChangeNote{{"disable", tok.ID}}, Used: []token.ID{tok.ID}}
	if got := feed.Poll(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := feed.Poll(); !reflect.DeepEqual(got, Activity{}) {
		t.Errorf("polled again: got %+v", got)
	}
	feed.Close()
	feed.Close()
	for i := range maxFeedUsed + 1 {
		s.feeds.noteUse(token.ID{byte(i), byte(i >> 8)})
	}
	for range maxFeedChanges + 1 {
		s.feeds.noteChange("edit", tok.ID)
	}
	if got := feed.Poll(); !reflect.DeepEqual(got, Activity{}) {
		t.Errorf("closed: got %+v", got)
	}
	if got := other.Poll(); !reflect.DeepEqual(got, Activity{ManyChanges: true, ManyUsed: true}) {
		t.Errorf("many: got %+v", got)
	}
}
