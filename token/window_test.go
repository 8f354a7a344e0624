package token

import (
	"testing"
	"time"
)

func TestParseWindow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "1m": time.Minute, "90s": 90 * time.Second, "60s": time.Minute, "1h": time.Hour,
		"24h": 24 * time.Hour, "1d": 24 * time.Hour, "86400s": 24 * time.Hour,
		"": 0, "m": 0, "1": 0, "0s": 0, "0m": 0, "-1m": 0, "+1m": 0, "1.5m": 0, "1mo": 0, "1M": 0, " 1m": 0, "1m ": 0,
		"2d": 0, "25h": 0, "86401s": 0, "1ms": 0, "1w": 0,
		"99999999999999999999s": 0, "2147483647d": 0, "١m": 0,
	} {
		got, err := ParseWindow(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %v, error %v; want %v", text, got, err, want)
		}
	}
	for window, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", 90 * time.Second: "90s", 90 * time.Minute: "90m", 24 * time.Hour: "1d",
		2 * time.Hour: "2h",
	} {
		if got := FormatWindow(window); got != want {
			t.Errorf("%v: got %s, want %s", window, got, want)
		}
	}
}
