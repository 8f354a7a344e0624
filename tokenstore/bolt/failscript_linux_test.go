package bolt

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// failEnvironment is the environment variable for runFailScript.
const failEnvironment = "MOLLYGATE_TEST_FAIL"

func init() { jobs[failEnvironment] = runFailScript }

// failSpec is the input of runFailScript.
type failSpec struct {
	Path  string
	Model *backendtest.Model
}

// failLine is a line of runFailScript's output. Only one of Token, Violation, Refused
// and Done is set.
type failLine struct {
	// Token is the new state of a token in the model.
	Token *backendtest.ModelToken `json:",omitempty"`
	// Violation is a wrong result.
	Violation *backendtest.Violation `json:",omitempty"`
	// Refused is the reason why the store can't be opened.
	Refused string `json:",omitempty"`
	// Done is set in the last line. AtRisk is also set if the counts would not survive a kill.
	Done, AtRisk bool `json:",omitempty"`
}

// runFailScript opens a store and does everything that writes to the disk: it changes tokens,
// flushes, makes a backup, makes the file grow and closes the store. It retries a failed step
// immediately, because the result must not depend on what the failed call left in memory.
func runFailScript(file string) int {
	runtime.GOMAXPROCS(1) // strace counts the calls of each thread
	var spec failSpec
	readSpec(file, &spec)
	m := spec.Model
	m.Report = func(t *backendtest.ModelToken) { writeLine(failLine{Token: t}) }
	s, err := openModelStore(spec.Path, testTime)
	if err != nil {
		writeLine(failLine{Refused: err.Error()})
		return 0
	}
	random := rand.New(rand.NewPCG(3, 1))
	try := func(step func() []backendtest.Violation) {
		for range 3 {
			found := step()
			for _, violation := range found {
				if violation.Kind != backendtest.Unavailable {
					writeLine(failLine{Violation: &violation})
				}
			}
			if !slices.ContainsFunc(found, isUnavailable) {
				return
			}
		}
	}
	for range 20 {
		if len(m.Tokens) < 7 { // the store is new
			try(func() []backendtest.Violation { return m.Create(s, random) })
		}
	}
	tokens := slices.Clone(m.Tokens)
	if len(tokens) < 7 {
		writeLine(failLine{Done: true, AtRisk: true})
		_ = s.Close()
		return 0
	}
	use := func() []backendtest.Violation { return m.Use(s, tokens[0], random) }
	create := func() []backendtest.Violation { return m.Create(s, random) }
	flush := func() []backendtest.Violation { return m.Flush(s) }
	for _, step := range []func() []backendtest.Violation{
		create, use, flush,
		func() []backendtest.Violation { return m.Revoke(s, tokens[1]) },
		func() []backendtest.Violation { return m.Rotate(s, tokens[2], 0) },
		func() []backendtest.Violation { return m.Rotate(s, tokens[3], time.Hour) },
		func() []backendtest.Violation { return m.Toggle(s, tokens[4]) },
		func() []backendtest.Violation { return m.Toggle(s, tokens[4]) },
		func() []backendtest.Violation { return m.Edit(s, tokens[5], randomGrants) },
		use,
		func() []backendtest.Violation { return m.Delete(s, tokens[6]) },
		func() []backendtest.Violation { return backUp(s) },
		create, create, create, create, create, create, create, create, use,
	} {
		try(step)
	}
	for _, violation := range m.Check(s) {
		if violation.Kind != backendtest.Unavailable {
			writeLine(failLine{Violation: &violation})
		}
	}
	atRisk := s.CountsAtRisk() != nil
	if err := s.Close(); err == nil {
		m.Flushed()
	}
	writeLine(failLine{Done: true, AtRisk: atRisk})
	return 0
}

// writeLine writes a line of output with writev, which no other code calls.
func writeLine(line failLine) {
	text, err := json.Marshal(line)
	must(err)
	_, err = unix.Writev(1, [][]byte{append(text, '\n')})
	must(err)
}

// randomGrants lists scopes that a Model never gives to new tokens.
var randomGrants = []string{"block:list"}

func isUnavailable(v backendtest.Violation) bool { return v.Kind == backendtest.Unavailable }

// backUp makes and reads a backup.
func backUp(s *tokenstore.Store) []backendtest.Violation {
	content, _, err := s.Backup()
	if err != nil {
		kind := backendtest.OtherError
		if errors.Is(err, tokenstore.ErrUnavailable) {
			kind = backendtest.Unavailable
		}
		return []backendtest.Violation{{Kind: kind, Text: "backup: " + err.Error()}}
	}
	defer content.Close()
	if _, err := io.Copy(io.Discard, content); err != nil {
		return []backendtest.Violation{{Kind: backendtest.OtherError, Text: "reading a backup: " + err.Error()}}
	}
	return nil
}

// newFailSpec creates a store for runFailScript, in a file with so little free space that the
// file soon has to grow.
func newFailSpec(path string) (spec failSpec, err error) {
	s, err := openModelStore(path, testTime)
	if err != nil {
		return spec, err
	}
	spec = failSpec{Path: path, Model: new(backendtest.Model)}
	random := rand.New(rand.NewPCG(3, 0))
	for range 12 {
		spec.Model.Create(s, random)
	}
	spec.Model.Use(s, spec.Model.Tokens[0], random)
	spec.Model.Flush(s)
	if err := s.Close(); err != nil {
		return spec, err
	}
	file, err := os.Open(path)
	if err != nil {
		return spec, err
	}
	defer file.Close()
	meta, err := boltfile.ReadMeta(file, math.MaxInt64)
	if err != nil {
		return spec, err
	}
	return spec, os.Truncate(path, meta.Size())
}
