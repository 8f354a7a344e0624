package bolt

import (
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

var kills = flag.Int("kills", 12, "number of times that TestKill kills a process")

// killEnvironment is the environment variable for workUntilKilled.
const killEnvironment = "MOLLYGATE_TEST_KILL"

func init() { jobs[killEnvironment] = workUntilKilled }

// killSpec contains a store's path and models of its tokens. Each model works in its own
// goroutine, so their changes share commits.
type killSpec struct {
	Path   string
	Seed   uint64
	Models []*backendtest.Model
}

// killLine is a line of a child's output. It announces that the child is about to open the
// store, or contains a token's new state or a violation.
type killLine struct {
	Opens     bool                    `json:",omitempty"`
	Model     int                     `json:",omitempty"`
	Token     *backendtest.ModelToken `json:",omitempty"`
	Violation string                  `json:",omitempty"`
}

// workUntilKilled opens a store and makes random changes until the process is killed.
func workUntilKilled(file string) int {
	var spec killSpec
	readSpec(file, &spec)
	printLine(killLine{Opens: true})
	s, err := openModelStore(spec.Path, testTime)
	if err != nil {
		printLine(killLine{Violation: err.Error()})
		return 1
	}
	var workers sync.WaitGroup
	for i, m := range spec.Models {
		m.Report = func(t *backendtest.ModelToken) { printLine(killLine{Model: i, Token: t}) }
		workers.Go(func() {
			random := rand.New(rand.NewPCG(spec.Seed, uint64(i)))
			for {
				for _, violation := range m.Work(s, random, 1) {
					printLine(killLine{Violation: string(violation.Kind) + ": " + violation.Text})
				}
			}
		})
	}
	workers.Wait()
	return 0
}

// TestKill starts processes that work with a store and kills them at random times. All
// acknowledged changes and all counted requests must be in the store when the next process
// opens it. To test many kills:
//
//	go test ./tokenstore/bolt -run TestKill -kills 1000 -timeout 1h -v
func TestKill(t *testing.T) {
	t.Parallel()
	spec := killSpec{Path: newPath(t), Models: make([]*backendtest.Model, 3)}
	for i := range spec.Models {
		spec.Models[i] = new(backendtest.Model)
	}
	random := rand.New(rand.NewPCG(9, 9))
	changes := 0
	for round := range *kills {
		spec.Seed = uint64(round)
		left := random.IntN(300)
		if random.IntN(4) == 0 {
			left = 0 // kill it while it opens the store
		}
		changes += spec.round(t, left)
		spec.check(t, random.IntN(2) == 0)
		if t.Failed() {
			t.Fatalf("round %d, killed after %d lines", round, left)
		}
	}
	t.Logf("%d kills, %d reports of changes", *kills, changes)
}

// round runs a child, kills it after the given number of lines, and returns the total number
// of lines that the child printed.
func (spec *killSpec) round(t *testing.T, left int) (lines int) {
	t.Helper()
	c := startChild(t, killEnvironment, spec)
	for line := (killLine{}); c.next(&line); line = (killLine{}) {
		if lines++; lines == left+1 {
			check(t, c.Process.Kill())
		}
		switch {
		case line.Violation != "":
			t.Error(line.Violation)
		case line.Token != nil:
			spec.Models[line.Model].Learn(line.Token)
		}
	}
	_ = c.Wait()
	if c.stderr.Len() > 0 {
		t.Errorf("the process wrote to its standard error: %s", c.firstLine())
	}
	return lines
}

// check checks the store that the killed process left behind. If onCopy is set, it checks a
// copy, so the next process also starts with the state after the kill.
func (spec *killSpec) check(t *testing.T, onCopy bool) {
	t.Helper()
	path := spec.Path
	if onCopy {
		path = copied(t, path)
	}
	s, err := openModelStore(path, testTime)
	if err != nil {
		t.Error(err)
		return
	}
	for _, m := range spec.Models {
		for _, violation := range m.Check(s) {
			t.Errorf("got violation %+v", violation)
		}
	}
	check(t, s.Close())
	if onCopy {
		return
	}
	for _, m := range spec.Models {
		m.Flushed()
	}
}
