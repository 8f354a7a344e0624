package bolt

import (
	"testing"
	"time"
)

// TestPauseEnds checks that closing ends a pause, and that there are no pauses afterwards.
func TestPauseEnds(t *testing.T) {
	t.Parallel()
	var g background
	begun := make(chan struct{})
	g.start(func() {
		close(begun)
		g.pause(time.Hour)
	})
	<-begun
	g.close()
	g.pause(time.Hour)
}

// TestVerifySlowly checks that the slow check finds a damaged record.
func TestVerifySlowly(t *testing.T) {
	t.Parallel()
	path, _ := filledStore(t, 1200)
	b := mustOpen(t, path)
	damageRecord(t, b, tokensBucket)
	b.verifyRecordsSlowly()
	if n := len(b.Health().Repairs); n != 1 {
		t.Errorf("got %d repairs, want 1", n)
	}
}
