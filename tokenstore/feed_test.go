package tokenstore

import (
	"slices"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestFeed verifies that a feed returns each change and each used token once, only while it is
// open, and that it drops lists that are too long.
func TestFeed(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	match := s.must(t, credential)
	s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	feed, other := s.Feed(), s.Feed()
	defer other.Close()
	expect := func(when string, f *Feed, changes []ChangeNote, manyChanges bool, used []token.ID, manyUsed bool) {
		t.Helper()
		if got, many := f.Changes(); !slices.Equal(got, changes) || many != manyChanges {
			t.Errorf("%s: got changes %v, many %v", when, got, many)
		}
		if got, many := f.Used(); !slices.Equal(got, used) || many != manyUsed {
			t.Errorf("%s: got used tokens %v, many %v", when, got, many)
		}
	}
	expect("new feed", feed, nil, false, nil, false)
	for range 3 {
		s.CountAllowed(match, "unikernel:list", LastUse{Time: testTime})
	}
	if _, err := s.Disable(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	<-feed.Changed()
	expect("in use", feed, []ChangeNote{{"disable", tok.ID}}, false, []token.ID{tok.ID}, false)
	expect("asked again", feed, nil, false, nil, false)
	feed.Close()
	feed.Close()
	for i := range maxFeedUsed + 1 {
		s.feeds.noteUse(token.ID{byte(i), byte(i >> 8)})
	}
	for range maxFeedChanges + 1 {
		s.feeds.noteChange("edit", tok.ID)
	}
	expect("closed", feed, nil, false, nil, false)
	expect("many", other, nil, true, nil, true)
	expect("asked again", other, nil, false, nil, false)
}

// TestChanges checks that changes are counted, but not attempts to change and not requests.
func TestChanges(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	if _, err := s.Disable(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Disable(tok.ID, 1, testActor); err == nil {
		t.Error("disabled a version that has been replaced")
	}
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: testTime})
	if n := s.Changes(); n != 2 {
		t.Errorf("got %d changes, want 2", n)
	}
}
