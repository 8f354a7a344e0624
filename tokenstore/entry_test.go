package tokenstore

import (
	"testing"
	"time"
)

// TestSeconds verifies that converting times to seconds and back preserves them, from the
// first year to the last.
func TestSeconds(t *testing.T) {
	t.Parallel()
	for _, want := range []time.Time{
		{}, time.Unix(0, 0).UTC(), time.Unix(1<<32, 0).UTC(), testTime.Truncate(time.Second),
		time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		if at := timeOfSeconds(secondsOf(want)); !at.Equal(want) || at.IsZero() != want.IsZero() {
			t.Errorf("%v became %v after a round trip", want, at)
		}
	}
}
