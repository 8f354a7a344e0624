package caddymodule

import "testing"

// TestHistoryRetention checks that history_retention must be at least 32 days, for monthly
// quotas, and at most ten years.
func TestHistoryRetention(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"400d": 400, "32d": 32, "2mo": 60, "1y": 366, "13mo": 396, "10y": 3660, "800h": 33,
		"31d": 0, "1mo": 0, "1h": 0, "11y": 0, "unlimited": 0, "x": 0, "": 0, "99999999999999999h": 0,
	} {
		if got, err := historyDays(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d days and error %v, want %d days", text, got, err, want)
		}
	}
}
