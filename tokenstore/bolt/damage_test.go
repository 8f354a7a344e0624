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
	faults    = flag.Int("faults", 66, "how many cases TestDamage runs")
	faultKind = flag.String("fault-kind", "", "the only kind of damage that TestDamage does, as its table names it")
	faultCase = flag.Int("fault-case", -1, "the only case that TestDamage runs")
	faultDir  = flag.String("fault-dir", "", "where TestDamage keeps its stores, and finds them again")
)

// forbiddenAfterDamage are the outcomes that no damage may have.
var forbiddenAfterDamage = map[string]bool{
	refusedLater: true, crashed: true, hung: true,
	string(backendtest.DeadAlive): true, string(backendtest.LiveUnknown): true, string(backendtest.ChangeLost): true,
	string(backendtest.UsageOver): true, string(backendtest.OtherError): true,
}

// damageColumns are the outcomes in the order of the table, with their headings.
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

// damageTable counts what came of the cases, by kind of damage.
type damageTable struct {
	mu      sync.Mutex
	cases   map[string]int
	with    map[string]map[string]int // cases with an outcome
	tokens  map[string]map[string]int // tokens with it
	details map[string][]string
}

// maxDetails is how many cases of an outcome are logged.
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

// String returns the table. After the number of cases comes that of tokens, if it is
// another.
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

// TestDamage damages stores that have agedStore, works with them, and opens them again. After
// the damage, a store may refuse to be opened, once, and tokens may be damaged (503). No
// token is forgotten (401), no acknowledged change is lost, nothing that was ended comes
// back to life, and the process goes on.
//
// The columns of the table are cases, and tokens in parentheses; those in capitals must be
// empty, and 401 too. For many cases, with TMPDIR set to a directory in memory:
//
//	go test ./tokenstore/bolt -run TestDamage -faults 10000 -timeout 2h -v
//
// With -fault-kind "bit flip", all of them are of that kind. To run one case again, name it and the directory that the stores were kept in:
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
		t.Fatalf("there is no kind of damage %q", *faultKind)
	}
	for _, pageSize := range []int{4096, 1024} {
		store := filepath.Join(dir, fmt.Sprint(pageSize))
		makeAged(t, store, pageSize)
		spec.Stores = append(spec.Stores, store)
	}
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
				t.Errorf("%s: %s: %d of %d cases", kind, outcome, cases, table.cases[kind])
			}
		}
	}
}

// runChildren runs cases in children, until all are done. A child that dies costs the case
// that it was at.
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
			t.Errorf("a child did nothing: %v\n%s", err, c.stderr.String())
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
