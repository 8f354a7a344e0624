package faults

import (
	"os"
	"testing"
)

// TestBuild builds the programs under test, so that a build that fails is reported as such.
func TestBuild(t *testing.T) {
	for _, build := range []func() (string, error){buildMember, buildGate} {
		name, err := build()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}
