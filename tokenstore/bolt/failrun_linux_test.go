package bolt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// failRun is a run of the script with a failing system call.
type failRun struct {
	failedCall
	dir string
	// model is the model of the tokens. content is the store's content before the run, or nil
	// if there is no store.
	model   *backendtest.Model
	content []byte
	// problems describes what went wrong.
	problems []string
}

func (r *failRun) path() string { return filepath.Join(r.dir, "tokens.db") }
func (r *failRun) out() string  { return filepath.Join(r.dir, "out") }

func (r *failRun) owns(path string) bool { return strings.HasPrefix(path, r.path()) || path == "" }

func (r *failRun) problem(when string, found ...backendtest.Violation) {
	for _, v := range found {
		r.problems = append(r.problems, fmt.Sprintf("%s: %s: %s: %s", when, v.Kind, v.ID, v.Text))
	}
}

// failDeadline is a run's maximum duration.
const failDeadline = 2 * time.Minute

// run runs the script with the n-th call failing, or with no failing call if n is 0. It
// returns the calls that strace logged.
func (r *failRun) run(t *testing.T, strace string, n int) []sysCall {
	t.Helper()
	if r.content != nil {
		check(t, os.WriteFile(r.path(), r.content, fileMode))
	}
	log := filepath.Join(r.dir, "log")
	wrapper := append([]string{strace, "-o", log, "-e", "trace=pwrite64,fdatasync,fsync,ftruncate,writev," + r.calls},
		straceOptions...)
	if n > 0 {
		when := fmt.Sprint(n)
		if r.later {
			when += "+"
		}
		wrapper = append(wrapper, "-e", "inject="+r.calls+":error="+r.err+":when="+when)
	}
	if r.own {
		wrapper = append(wrapper, "-P", r.path(), "-P", r.path()+journalSuffix, "-P", r.out())
	}
	c := newChild(t, failEnvironment, failSpec{Path: r.path(), Model: r.model}, wrapper...)
	out, err := os.Create(r.out())
	check(t, err)
	defer out.Close()
	c.Stdout = out
	check(t, c.Start())
	watchdog := time.AfterFunc(failDeadline, func() { _ = c.Process.Kill() })
	if err := c.Wait(); err != nil {
		r.problems = append(r.problems, fmt.Sprintf("the process exited with an error: %v: %s", err, c.firstLine()))
	}
	if !watchdog.Stop() {
		r.problems = append(r.problems, "the process hung")
	}
	calls, err := readStrace(log)
	check(t, err)
	if !r.fresh {
		r.cutPower(t, calls)
	}
	r.checkEnd(t)
	return calls
}

// checkEnd reads the process's results and checks the store that the process left behind.
func (r *failRun) checkEnd(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(r.out())
	check(t, err)
	var end failLine
	for line := range bytes.Lines(text) {
		end = failLine{}
		check(t, json.Unmarshal(line, &end))
		switch {
		case end.Token != nil:
			r.model.Learn(end.Token)
		case end.Violation != nil:
			r.problem("during the script", *end.Violation)
		}
	}
	s, err := openModelStore(r.path(), testTime)
	if err != nil {
		r.problems = append(r.problems, "after the script: "+err.Error())
		return
	}
	defer s.Close()
	for _, violation := range r.model.Check(s) {
		if violation.Kind != backendtest.UsageUnsaved || end.Done && !end.AtRisk {
			r.problem("after the script", violation)
		}
	}
}

// cutPower checks the disk's content whenever the script reports a change.
func (r *failRun) cutPower(t *testing.T, calls []sysCall) {
	t.Helper()
	disk := diskModel{durable: slices.Clone(r.content)}
	m := cloneModel(t, r.model)
	for _, call := range calls {
		switch {
		case call.path == r.out() && !call.failed:
			var line failLine
			check(t, json.Unmarshal(call.data, &line))
			if line.Token == nil {
				break
			}
			changed := changes(m, line.Token)
			if m.Learn(line.Token); changed {
				r.checkDurable(t, m, disk.durable)
			}
		case call.path != r.path():
		case call.name == "fdatasync" || call.name == "fsync":
			disk.sync(call.failed)
		case call.failed:
		case call.name == "pwrite64":
			disk.write(call.data, call.offset)
		case call.name == "ftruncate":
			disk.truncate(call.size)
		}
		if len(r.problems) > 0 {
			return // further problems are consequences of the first
		}
	}
}

// changes reports whether t differs from the model in more than its counts.
func changes(m *backendtest.Model, t *backendtest.ModelToken) bool {
	i := slices.IndexFunc(m.Tokens, func(known *backendtest.ModelToken) bool { return known.ID == t.ID })
	return i < 0 || !slices.Equal(m.Tokens[i].States, t.States) || m.Tokens[i].Saved != t.Saved
}

// checkDurable checks the store as it would be after a power cut, without its journal.
func (r *failRun) checkDurable(t *testing.T, m *backendtest.Model, content []byte) {
	t.Helper()
	path := filepath.Join(r.dir, "cut.db")
	check(t, os.WriteFile(path, content, fileMode))
	r.problem("after a power cut", checkAfterCut(path, m)...)
}
