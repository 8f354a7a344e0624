package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// damageEnvironment is the environment variable for runDamageCases.
const damageEnvironment = "MOLLYGATE_TEST_DAMAGE"

func init() { jobs[damageEnvironment] = runDamageCases }

// damageSpec specifies the cases that a child runs: First, First+Step and so on, up to but not
// including Last.
type damageSpec struct {
	Stores            []string // directories created by makeAged
	Work              string   // directory for the files of the cases
	First, Last, Step int
	// Kind is the only kind of damage to use, or "" for all kinds.
	Kind string
}

// kinds returns the kinds of damage to use in turn.
func (s *damageSpec) kinds() []damageKind {
	if s.Kind == "" {
		return damageKinds
	}
	return slices.DeleteFunc(slices.Clone(damageKinds), func(k damageKind) bool { return k.name != s.Kind })
}

// Possible outcomes of a case, in addition to the kinds of violations.
const (
	refusedFirst  = "refused at first open"
	refusedUsable = "refused with a usable meta page"
	refusedLater  = "refused later"
	crashed       = "crash"
	hung          = "hang"
)

// damageLine is a line of a child's output: a case's start or its outcomes.
type damageLine struct {
	Case  int
	Begin bool
	Kind  string
	// Outcomes contains the number of tokens with each outcome, or 1 for an outcome that
	// doesn't concern tokens.
	Outcomes map[string]int
	// Details contains an example for some of the outcomes.
	Details map[string]string
}

const (
	// caseDeadline is a case's maximum duration.
	caseDeadline = 30 * time.Second
	hangExit     = 3
	// casesPerChild limits the number of damaged files that a child leaves mapped.
	casesPerChild = 250
)

// runDamageCases runs the cases in a child.
func runDamageCases(file string) int {
	debug.SetMaxStack(64 << 20) // fail early on a stack overflow instead of using up all memory
	var spec damageSpec
	readSpec(file, &spec)
	kinds := spec.kinds()

	for i, n := spec.First, 0; i < spec.Last && n < casesPerChild; i, n = i+spec.Step, n+1 {
		kind := kinds[i%len(kinds)]
		printLine(damageLine{Case: i, Begin: true, Kind: kind.name})
		watchdog := time.AfterFunc(caseDeadline, func() {
			stacks := make([]byte, 1<<16)
			fmt.Fprintf(os.Stderr, "%s\n", stacks[:runtime.Stack(stacks, true)])
			os.Exit(hangExit)
		})
		l, err := readAged(spec.Stores[i/len(kinds)%len(spec.Stores)])
		must(err)
		dir := filepath.Join(spec.Work, fmt.Sprint(i))
		must(os.Mkdir(dir, 0o700))
		c := damageCase{
			damageTarget: damageTarget{agedStore: l, Rand: rand.New(rand.NewPCG(19, uint64(i))),
				path: filepath.Join(dir, "tokens.db")},
			kind: kind, line: damageLine{Case: i, Kind: kind.name, Outcomes: make(map[string]int),
				Details: make(map[string]string)},
		}
		c.run()
		watchdog.Stop()
		printLine(c.line)
		must(os.RemoveAll(dir))
	}
	return 0
}

// damageCase damages, opens, uses and reopens a store.
type damageCase struct {
	damageTarget
	kind damageKind
	line damageLine
	// noted contains the IDs of the tokens counted for each outcome.
	noted map[string][]string
}

func (c *damageCase) run() {
	m := c.Killed
	if c.raw = c.image(c.Images - 1); !c.kind.open {
		c.kind.do(&c.damageTarget)
	}
	must(os.WriteFile(c.path, c.raw, fileMode))
	if c.kind.older || c.IntN(4) == 0 { // not always, because reading the journal is slow
		must(writeSparse(c.path+journalSuffix, c.read(journalName)))
	} else { // as after a close
		const header = 4096
		must(os.WriteFile(c.path+journalSuffix, c.read(journalName)[:header], fileMode))
		for _, token := range m.Tokens {
			token.Counted = token.Saved
		}
	}
	s, err := openModelStore(c.path, c.Time)
	if err != nil {
		c.refused(err)
		return
	}
	if c.kind.open {
		c.note(m.Work(s, c.Rand, 30))
		c.kind.do(&c.damageTarget)
	}
	before := m.Acknowledged
	if c.IntN(2) == 0 {
		c.note(m.Check(s)) // also loads all tokens into memory
	}
	c.note(m.Work(s, c.Rand, 60))
	c.note(m.Check(s))
	_ = s.Close() // Close may be unable to save the counts

	switch s, err := openModelStore(c.path, c.Time); {
	case err == nil:
		c.note(m.Check(s))
		_ = s.Close()
	case c.kind.open && m.Acknowledged == before:
		c.refused(err)
	default:
		c.line.Outcomes[refusedLater] = 1
		c.line.Details[refusedLater] = fmt.Sprintf("after %d changes: %v", m.Acknowledged-before, err)
	}
}

// refused records that a damaged file was refused when it was first opened.
func (c *damageCase) refused(err error) {
	c.line.Outcomes[refusedFirst] = 1
	if !c.kind.older && usableMeta(c.raw, c.PageSize) {
		c.line.Outcomes[refusedUsable] = 1
		c.line.Details[refusedUsable] = err.Error()
	}
}

// note counts the tokens affected by violations, counting each token once per outcome.
func (c *damageCase) note(found []backendtest.Violation) {
	if c.noted == nil {
		c.noted = make(map[string][]string)
	}
	for _, violation := range found {
		outcome := string(violation.Kind)
		if slices.Contains(c.noted[outcome], violation.ID) {
			continue
		}
		c.noted[outcome] = append(c.noted[outcome], violation.ID)
		c.line.Outcomes[outcome]++
		if _, ok := c.line.Details[outcome]; !ok {
			c.line.Details[outcome] = violation.ID + ": " + violation.Text
		}
	}
}

// usableMeta reports whether one of the two meta pages has a correct checksum.
func usableMeta(raw []byte, pageSize int) bool {
	const header, summed = 16, 56
	for _, offset := range []int{0, pageSize} {
		if offset+header+summed+8 > len(raw) {
			continue
		}
		meta := raw[offset+header:]
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:summed])
		if binary.NativeEndian.Uint64(meta[summed:]) == sum.Sum64() {
			return true
		}
	}
	return false
}

// writeSparse writes a file that is mostly zeros.
func writeSparse(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	defer file.Close()
	zeros := make([]byte, 4096)
	for offset := 0; offset < len(content); offset += len(zeros) {
		part := content[offset:min(offset+len(zeros), len(content))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			if _, err := file.WriteAt(part, int64(offset)); err != nil {
				return err
			}
		}
	}
	return file.Truncate(int64(len(content)))
}
