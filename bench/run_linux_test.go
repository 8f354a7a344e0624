package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRun runs real measurements, too short to be meaningful, and checks that the report
// is complete.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for _, only := range []string{"respond/gate, 1 token", "respond/lower bound", "respond/forward_auth",
		"respond over TLS/", "proxy/gate, 10k tokens, 100"} {
		o := options{
			slices: 1, slice: 50 * time.Millisecond, connections: 4, tokens: 2_000, starts: 1, only: only, pairs: true,
			scale: strings.HasPrefix(only, "proxy"),
			json:  filepath.Join(dir, "bench.json"), markdown: filepath.Join(dir, "bench.md"),
		}
		if err := run(o); err != nil {
			t.Fatalf("%s: %v", only, err)
		}
		content, err := os.ReadFile(o.json)
		if err != nil {
			t.Fatal(err)
		}
		var report Report
		if err := json.Unmarshal(content, &report); err != nil {
			t.Fatal(err)
		}
		if len(report.Pairs) < 2 || !report.Pairs[0].Control {
			t.Fatalf("%s: %d rows, or the first isn't the control", only, len(report.Pairs))
		}
		for _, pair := range report.Pairs {
			if !(pair.Base > 0 && pair.Cost > 0 && pair.Ratio.Median > 0 && pair.CostP99 >= pair.CostP50) {
				t.Errorf("got implausible figures %+v", pair)
			}
		}
		for _, verdict := range report.Verdicts {
			if strings.Contains(verdict.Goal, "respond") && !strings.HasPrefix(verdict.Verdict, noVerdict) {
				t.Errorf("got a verdict from a single slice: %+v", verdict)
			}
		}
		if o.scale {
			large := report.Scale[len(report.Scale)-1]
			if len(report.Scale) != 2 || large.Tokens != o.tokens || large.Start <= 0 || large.ActiveMemory <= 0 ||
				large.CreatesPerSecond <= 0 || large.RevokeFlushP99 <= 0 {
				t.Errorf("got scale results %+v", report.Scale)
			}
		}
		if table, err := os.ReadFile(o.markdown); err != nil ||
			!strings.Contains(string(table), "| "+report.Pairs[1].Name+" |") {
			t.Errorf("row %s is missing from the Markdown: err %v\n%s", report.Pairs[1].Name, err, table)
		}
	}
}
