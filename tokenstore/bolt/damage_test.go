//go:build linux

package bolt

import (
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

var (
	faults    = flag.Int("faults", 66, "number of cases that TestDamage runs")
	faultKind = flag.String("fault-kind", "", "run only this kind of damage in TestDamage, as named in its table")
	faultCase = flag.Int("fault-case", -1, "run only this case of TestDamage")
	faultDir  = flag.String("fault-dir", "", "directory in which TestDamage saves its stores for reuse")
)

// forbiddenAfterDamage lists the outcomes that damage must not cause.
var forbiddenAfterDamage = map[string]bool{
	refusedLater: true, crashed: true, hung: true,
	string(backendtest.DeadAlive): true, string(backendtest.LiveUnknown): true, string(backendtest.ChangeLost): true,
	string(backendtest.UsageOver): true, string(backendtest.OtherError): true,
}

// damageColumns lists the outcomes with their headings, in table order.
var damageColumns = []struct{ heading, outcome string }{
	{"refused", refusedFirst},
	{"usable", refusedUsable},
	{"LATER", refusedLater},
	{"401", string(backendtest.LiveUnknown)},
	{"LOST", string(backendtest.ChangeLost)},
	{"ALIVE", string(backendtest.DeadAlive)},
	{"OVER", string(backendtest.UsageOver)},
	{"ERROR", string(backendtest.OtherError)},
	{"CRASH", crashed},
	{"HANG", hung},
	{"503", string(backendtest.Damaged)},
	{"503 store", string(backendtest.Unavailable)},
	{"revoked 401", string(backendtest.RevokedUnknown)},
	{"unlisted", string(backendtest.Unlisted)},
	{"usage lost", string(backendtest.UsageLost)},
}

// damageTable counts the outcomes of all cases by kind of damage.
type damageTable struct {
	mu      sync.Mutex
	cases   map[string]int
	with    map[string]map[string]int // cases with an outcome
	tokens  map[string]map[string]int // tokens with an outcome
	details map[string][]string
}

// maxDetails is the maximum number of cases to log for each outcome.
const maxDetails = 2

func newDamageTable() *damageTable {
	d := &damageTable{
		cases: make(map[string]int), with: make(map[string]map[string]int), tokens: make(map[string]map[string]int),
		details: make(map[string][]string),
	}
	for _, kind := range damageKinds {
		d.with[kind.name], d.tokens[kind.name] = make(map[string]int), make(map[string]int)
	}
	return d
}

func (d *damageTable) add(line damageLine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cases[line.Kind]++
	for outcome, tokens := range line.Outcomes {
		d.with[line.Kind][outcome]++
		d.tokens[line.Kind][outcome] += tokens
	}
	for outcome, detail := range line.Details {
		if what := line.Kind + ": " + outcome; len(d.details[what]) < maxDetails {
			d.details[what] = append(d.details[what], fmt.Sprintf("case %d: %s", line.Case, detail))
		}
	}
}

// String returns the table. If the number of tokens differs from the number of cases, it is
// shown in parentheses.
func (d *damageTable) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tcases\t")
	for _, column := range damageColumns {
		fmt.Fprint(w, column.heading, "\t")
	}
	for _, kind := range damageKinds {
		fmt.Fprint(w, "\n", kind.name, "\t", d.cases[kind.name], "\t")
		for _, column := range damageColumns {
			cases, tokens := d.with[kind.name][column.outcome], d.tokens[kind.name][column.outcome]
			switch cases {
			case 0:
				fmt.Fprint(w, "-\t")
			case tokens:
				fmt.Fprint(w, cases, "\t")
			default:
				fmt.Fprint(w, cases, " (", tokens, ")\t")
			}
		}
	}
	fmt.Fprintln(w)
	_ = w.Flush()
	return text.String()
}

// TestDamage damages aged stores, uses them and reopens them. Opening a damaged store may fail
// once, and tokens may be damaged (503). However, no token may become unknown (401), no
// acknowledged change may be lost, no revoked or expired token may become valid again, and the
// process must not crash.
//
// The table shows the number of cases, with the number of tokens in parentheses. The 401
// column and the columns with headings in capitals must be empty. To run many cases, set
// TMPDIR to a directory in memory and run:
//
//	go test ./tokenstore/bolt -run TestDamage -faults 10000 -timeout 2h -v
//
// With -fault-kind "bit flip", all cases flip bits. To rerun a case, pass its number and the
// stores' directory:
//
//	go test ./tokenstore/bolt -run TestDamage -faults 10000 -fault-dir DIR -v
//	go test ./tokenstore/bolt -run TestDamage -fault-case 4711 -fault-dir DIR -v
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := *faultDir
	if dir == "" {
		dir = t.TempDir()
	}
	spec := damageSpec{Work: t.TempDir(), Last: *faults, Kind: *faultKind}
	if len(spec.kinds()) == 0 {
		t.Fatalf("unknown kind of damage %q", *faultKind)
	}
	t.Run("stores", func(t *testing.T) {
		for _, pageSize := range []int{4096, 1024} {
			store := filepath.Join(dir, fmt.Sprint(pageSize))
			spec.Stores = append(spec.Stores, store)
			t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
				t.Parallel()
				makeAged(t, store, pageSize)
			})
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	spec.Step = runtime.GOMAXPROCS(0)
	if *faultCase >= 0 {
		spec.First, spec.Last, spec.Step = *faultCase, *faultCase+1, 1
	}
	table := newDamageTable()
	t.Run("children", func(t *testing.T) {
		for worker := range spec.Step {
			spec := spec
			spec.First += worker
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				runChildren(t, spec, table)
			})
		}
	})
	t.Logf("\n%s", table)
	for _, what := range slices.Sorted(maps.Keys(table.details)) {
		t.Logf("%s:\n%s", what, strings.Join(table.details[what], "\n"))
	}
	for kind, outcomes := range table.with {
		for outcome, cases := range outcomes {
			if forbiddenAfterDamage[outcome] {
				t.Errorf("%s: outcome %s in %d of %d cases, want none", kind, outcome, cases, table.cases[kind])
			}
		}
	}
}

// runChildren runs all cases in child processes. If a child dies, another child continues with
// the next case.
func runChildren(t *testing.T, spec damageSpec, table *damageTable) {
	for spec.First < spec.Last {
		c := startChild(t, damageEnvironment, spec)
		var line damageLine
		for {
			next := damageLine{}
			if !c.next(&next) {
				break
			}
			if line = next; !line.Begin {
				table.add(line)
			}
		}
		err := c.Wait()
		switch {
		case line.Kind == "":
			t.Errorf("a child process ran no cases: %v\n%s", err, c.stderr.String())
			return
		case line.Begin && c.ProcessState.ExitCode() == hangExit:
			line.Outcomes, line.Details = map[string]int{hung: 1}, map[string]string{hung: c.stderr.String()}
			table.add(line)
		case line.Begin:
			line.Outcomes, line.Details = map[string]int{crashed: 1},
				map[string]string{crashed: fmt.Sprintf("%v: %s", err, c.firstLine())}
			table.add(line)
		}
		spec.First = line.Case + spec.Step
	}
}
