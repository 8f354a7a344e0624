package faults

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	clusterFor  = flag.Duration("cluster.for", time.Minute, "how long TestClusterFaults injects faults")
	clusterSeed = flag.Uint64("cluster.seed", 0, "seed for random choices; 0 derives it from the clock")
	clusterKeep = flag.String("cluster.keep", "", "directory for the histories and logs of failed tests")
	gateSource  = flag.String("cluster.source", "../../..", "directory of the product's source")
	gateRace    = flag.Bool("cluster.gaterace", false, "build the gates with the race detector")
)

func TestMain(m *testing.M) {
	flag.Parse()
	removeLeftovers()
	var err error
	if runDir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", runPrefix, os.Getpid())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(runDir)
	os.Exit(code)
}

// runDir holds the programs under test and the files of all clusters. The number in its name is
// the ID of the test's process.
var runDir string

const runPrefix = "mg-faults-"

// removeLeftovers removes the files of runs that were killed. Their processes, networks and
// mounts ended with them.
func removeLeftovers() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	for _, dir := range dirs {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), runPrefix), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}

// newRandom returns a source of random choices and logs how to repeat them.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *clusterSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("to repeat: go test -C etcdstore/integration -race ./faults -run '^%s$' -cluster.for %s -cluster.seed %d",
		t.Name(), *clusterFor, seed)
	return rand.New(rand.NewPCG(seed, 0))
}
