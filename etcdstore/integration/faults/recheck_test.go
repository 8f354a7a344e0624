package faults

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
)

var (
	recheckFile  = flag.String("cluster.history", "", "file with a history for TestRecheck")
	recheckBound = flag.Duration("cluster.bound", 9*time.Second, "how old a state can be that a gate sees")
)

// TestRecheck checks the history of an earlier run again.
func TestRecheck(t *testing.T) {
	if *recheckFile == "" {
		t.Skip("-cluster.history is not set")
	}
	text, err := os.ReadFile(*recheckFile)
	if err != nil {
		t.Fatal(err)
	}
	h := new(history)
	if err := json.Unmarshal(text, h); err != nil {
		t.Fatal(err)
	}
	t.Log(h.describe())
	for _, p := range checkLinear(h.Operations, time.Minute) {
		t.Error(p)
	}
	for _, p := range checkVerdicts(h, *recheckBound) {
		t.Error(p)
	}
}
