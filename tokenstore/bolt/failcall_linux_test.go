package bolt

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

var failRuns = flag.Int("fail-runs", 3, "number of calls of each kind that TestFailedCalls makes fail; 0 for all")

// failedCall is a kind of system call that is made to fail, and the error that it returns.
type failedCall struct {
	calls, err string
	// later is set if all later calls of the same kind also fail.
	later bool
	// own is set if calls fail only for the store's file or journal, so calls made by the Go
	// runtime succeed.
	own bool
	// fresh is set if the store doesn't exist yet.
	fresh bool
	// often is set to test four times as many calls.
	often bool
}

var failedCalls = []failedCall{
	{calls: "pwrite64", err: "EIO"},
	{calls: "pwrite64", err: "EIO", later: true},
	{calls: "pwrite64", err: "ENOSPC"},
	{calls: "fdatasync", err: "EIO", often: true},
	{calls: "fdatasync", err: "EIO", later: true},
	{calls: "fsync", err: "EIO"},
	{calls: "ftruncate", err: "EIO"},
	{calls: "ftruncate", err: "ENOSPC"},
	{calls: "mmap", err: "ENOMEM", own: true},
	{calls: "openat", err: "EMFILE", own: true},
	{calls: "unlinkat", err: "EIO"},
	{calls: "pwrite64", err: "EIO", fresh: true},
	{calls: "fdatasync", err: "EIO", fresh: true},
	{calls: "fsync", err: "EIO", fresh: true},
	{calls: "linkat", err: "EPERM", fresh: true},
	{calls: "linkat,rename,renameat,renameat2", err: "EIO", fresh: true},
}

func (f failedCall) String() string {
	text := f.calls + " " + f.err
	if f.later {
		text += " from then on"
	}
	if f.fresh {
		text += ", new store"
	}
	return text
}

// TestFailedCalls makes system calls of each kind fail, one call per run. A change whose call
// failed may or may not take effect. All acknowledged changes must be in the store the next
// time it is opened, even if the power fails right after the acknowledgment. The process must
// not crash.
//
// strace counts calls per thread, so several calls may fail in a run; the log shows how many
// different calls failed across all runs. To test all calls:
//
//	go test ./tokenstore/bolt -run TestFailedCalls -fail-runs 0 -timeout 1h -v
func TestFailedCalls(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("%v: install strace, which this test needs to make system calls fail", err)
	}
	probe := exec.CommandContext(t.Context(), strace, "-f", "-qq", "--seccomp-bpf", "-e", "inject=fsync:error=EIO",
		strace, "-V")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("strace can't trace processes here: %v: %s", err, out)
	}
	for _, fail := range failedCalls {
		t.Run(fail.String(), func(t *testing.T) {
			t.Parallel()
			testFailedCall(t, strace, fail)
		})
	}
}

func testFailedCall(t *testing.T, strace string, fail failedCall) {
	store := newPath(t)
	spec := failSpec{Model: new(backendtest.Model)}
	var content []byte
	if !fail.fresh {
		var err error
		spec, err = newFailSpec(store)
		check(t, err)
		content, err = os.ReadFile(store)
		check(t, err)
	}
	// run returns the number of calls in a run and the indexes of the calls that failed.
	run := func(n int) (total int, hit []int) {
		r := &failRun{failedCall: fail, dir: t.TempDir(), model: cloneModel(t, spec.Model), content: content}
		for _, call := range r.run(t, strace, n) {
			if slices.Contains(strings.Split(fail.calls, ","), call.name) && (!fail.own || r.owns(call.path)) {
				if total++; call.injected {
					hit = append(hit, total)
				}
			}
		}
		for _, problem := range r.problems {
			t.Errorf("call %d: %s", n, problem)
		}
		return total, hit
	}
	total, _ := run(0)
	step := 1
	if *failRuns > 0 {
		step = max(1, total / *failRuns)
	}
	if fail.often {
		step = max(1, step/4)
	}
	failed := make(map[int]bool)
	for n := 1; n <= total; n += step {
		_, hit := run(n)
		for _, number := range hit {
			failed[number] = true
		}
	}
	t.Logf("%d of %d calls failed", len(failed), total)
	if len(failed) == 0 {
		t.Error("no call failed, so the test checks nothing")
	}
}
