package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	recheckFile  = flag.String("cluster.history", "", "history to check in TestRecheck, instead of a bad one")
	recheckBound = flag.Duration("cluster.bound", 9*time.Second, "how old a state can be that a gate sees")
)

// recheck checks a history in a file.
func recheck(t *testing.T, path string) (problems []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h := new(history)
	if err := json.Unmarshal(text, h); err != nil {
		t.Fatal(err)
	}
	t.Log(h.describe())
	for _, p := range checkLinear(h.Operations, time.Minute) {
		problems = append(problems, fmt.Sprint(p))
	}
	for _, p := range checkVerdicts(h, *recheckBound) {
		problems = append(problems, fmt.Sprint(p))
	}
	return problems
}

// TestRecheck checks the history that an earlier run has kept. Without one, it writes a history in
// which a gate accepts a token again after it has refused it, which breaks two rules of the verdicts.
func TestRecheck(t *testing.T) {
	if *recheckFile != "" {
		for _, p := range recheck(t, *recheckFile) {
			t.Error(p)
		}
		return
	}
	revoked := operation{Action: revoke, Call: 20, Return: 30, Got: state(2, "a", "revoked")}
	h := &history{Operations: times(created(), revoked), Sightings: []sighting{
		seenAt(1, 60, 401, "revoked_token"), seenAt(1, 100, 200, "a"),
	}}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "history.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if problems := recheck(t, path); len(problems) != 2 {
		t.Errorf("got problems %q, want two: one of each rule", problems)
	}
}
