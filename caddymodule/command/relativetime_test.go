package command

import (
	"testing"
	"time"
)

func TestAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for seconds, want := range map[int64]string{
		-5: "0 s ago", 0: "0 s ago", 12: "12 s ago", 59: "59 s ago", 60: "1 m ago", 3599: "59 m ago", 3600: "1 h ago",
		86399: "23 h ago",
		86400: "1 d ago", 604799: "6 d ago", 604800: "1 w ago", 2591999: "4 w ago", 2592000: "1 mo ago",
		4838400:  "2 mo ago",
		31535999: "12 mo ago", 31536000: "1 y ago", 63072000: "2 y ago",
	} {
		if got := ago(now.Add(-time.Duration(seconds)*time.Second), now); got != want {
			t.Errorf("%d s ago: got %q, want %q", seconds, got, want)
		}
	}
	if got := ago(time.Time{}, now); got != never {
		t.Errorf("zero time: got %q", got)
	}
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(29 * 24 * time.Hour), "in 4 w"},
		{now.Add(59 * time.Second), "in 59 s"},
		{now.Add(12*time.Hour - 2*time.Second), "in 12 h"},
		{now.Add(7*24*time.Hour - 2*time.Second), "in 1 w"},
		{now.Add(6*24*time.Hour + 23*time.Hour), "in 6 d"},
		{now, "0 s ago"},
		{now.Add(-time.Hour), "1 h ago"},
		{time.Time{}, "never"},
	} {
		if got := relative(test.at, now); got != test.want {
			t.Errorf("%v: got %q, want %q", test.at, got, test.want)
		}
	}
}
