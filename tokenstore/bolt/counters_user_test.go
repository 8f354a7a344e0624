//go:build linux || darwin

package bolt

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// countEnvironment holds a countingJob that this process does instead of testing.
const countEnvironment = "MOLLYGATE_TEST_COUNT"

func init() { jobs[countEnvironment] = count }

// countingJob is what a process does with a store.
type countingJob struct {
	Path, Secret string
	At           time.Time
	// Flush lets it save what it has counted.
	Allowed, Denied int
	Flush           bool
}

// counted is what such a process saw.
type counted struct {
	// Before is what the store had counted when it was opened.
	Before tokenstore.Usage
	// Left is how much of the quota was left, or -1.
	Left int64
	// Trouble is what TendCounters returned.
	Trouble string
}

// count does a job, prints what it saw, and keeps the store open until its standard
// input ends.
func count(spec string) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	var job countingJob
	if err := json.Unmarshal([]byte(spec), &job); err != nil {
		return fail(err)
	}
	b, err := Open(job.Path)
	if err != nil {
		return fail(err)
	}
	var seen counted
	if err := b.TendCounters(); err != nil {
		seen.Trouble = err.Error()
	}
	clock := tokenstore.ClockFunc(func() time.Time { return job.At })
	s, err := tokenstore.Open(b, tokenstore.Options{Clock: clock, FlushInterval: -1})
	if err != nil {
		return fail(err)
	}
	credential, err := testPolicy.Prefixes.Parse(job.Secret)
	if err != nil {
		return fail(err)
	}
	match, err := s.Authenticate(credential, job.At)
	if err != nil {
		return fail(err)
	}
	token, err := s.Get(match.Token.ID)
	if err != nil {
		return fail(err)
	}
	seen.Before = token.Usage
	standing, err := s.QuotaStanding(match.Token, job.At)
	if err != nil {
		return fail(err)
	}
	seen.Left = standing.Remaining
	for range job.Allowed {
		s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: job.At, IP: "203.0.113.7"})
	}
	for range job.Denied {
		s.CountDenied(match, job.At, "a:b", "insufficient_scope")
	}
	if job.Flush {
		if err := s.Flush(); err != nil {
			return fail(err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		return fail(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		return fail(err)
	}
	return 0
}

// counter starts counting processes, which the tests end in order or kill.
type counter struct {
	t       *testing.T
	program string
	dir     string
	job     countingJob
}

const nobody = 65534

// newCounter makes a store with a token, in a directory that other users may enter.
func newCounter(t *testing.T, quota *tokenstore.Quota) *counter {
	t.Helper()
	c := &counter{t: t, dir: filepath.Join(t.TempDir(), "store")}
	check(t, os.Mkdir(c.dir, 0o700))
	for dir := filepath.Dir(c.dir); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o755))
	}
	// The test's own program is where other users can't reach it.
	self, err := os.Executable()
	check(t, err)
	content, err := os.ReadFile(self)
	check(t, err)
	c.program = filepath.Join(filepath.Dir(c.dir), "count")
	check(t, os.WriteFile(c.program, content, 0o755))

	c.job = countingJob{Path: filepath.Join(c.dir, "tokens.db"), At: testTime}
	s := storeOver(t, mustOpen(t, c.job.Path))
	week, err := tokenstore.ParseLifetime("1w")
	check(t, err)
	_, secret, err := s.Create(testPolicy, tokenstore.Draft{
		Kind: tokenstore.KindAPI, Name: "test", Preset: "full", Expiry: tokenstore.Expiry{ExpiresIn: week}, Quota: quota,
	}, testActor)
	check(t, err)
	c.job.Secret = secret.Reveal()
	check(t, s.Close())
	return c
}

// run lets a process count, as the other user if there can be one, and kills it or
// lets it end in order.
func (c *counter) run(asOther, kill bool, job countingJob) (seen counted) {
	c.t.Helper()
	job.Path, job.Secret = c.job.Path, c.job.Secret
	if job.At.IsZero() {
		job.At = c.job.At
	}
	spec, err := json.Marshal(job)
	check(c.t, err)
	cmd := exec.Command(c.program)
	cmd.Env = []string{countEnvironment + "=" + string(spec)}
	if asOther && os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	input, err := cmd.StdinPipe()
	check(c.t, err)
	output, err := cmd.StdoutPipe()
	check(c.t, err)
	check(c.t, cmd.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &seen)
	}
	if kill {
		_ = cmd.Process.Kill()
	} else {
		_ = input.Close()
	}
	ended := cmd.Wait()
	if err != nil || !kill && ended != nil {
		c.t.Fatalf("the process says %q, %v, %v", line, err, ended)
	}
	return seen
}

// takeAway gives the store to the other user, or if there can't be one takes the right
// to read the counters from this one.
func (c *counter) takeAway() {
	c.t.Helper()
	if os.Geteuid() != 0 {
		check(c.t, os.Chmod(c.job.Path+countersSuffix, 0))
		return
	}
	check(c.t, os.Chown(c.dir, nobody, nobody))
	check(c.t, os.Chown(c.job.Path, nobody, nobody))
}

// giveBack lets the other user read the counters.
func (c *counter) giveBack() {
	c.t.Helper()
	if os.Geteuid() != 0 {
		check(c.t, os.Chmod(c.job.Path+countersSuffix, 0o600))
		return
	}
	check(c.t, os.Chown(c.job.Path+countersSuffix, nobody, nobody))
}

func (c *counter) gone() bool {
	_, err := os.Stat(c.job.Path + countersSuffix)
	return errors.Is(err, fs.ErrNotExist)
}

// TestCountsOfAnotherUser verifies that what a killed process of another user has
// counted is added to what was counted since, once, as soon as a process can read it.
// What is in the history, and so of the quota, is the same.
func TestCountsOfAnotherUser(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		// first are the counts before the file can't be read, second those while it can't.
		first, second []countingJob
		// killed says that the processes that can't read it are killed, too.
		killed          bool
		allowed, denied uint64
		today           int64 // of the allowed
	}{
		"nothing since":         {first: []countingJob{{Allowed: 7}}, second: []countingJob{{}}, allowed: 7, today: 7},
		"fewer since":           {first: []countingJob{{Allowed: 7, Denied: 1}}, second: []countingJob{{Allowed: 3, Denied: 2}}, allowed: 10, denied: 3, today: 10},
		"more since":            {first: []countingJob{{Allowed: 7}}, second: []countingJob{{Allowed: 9}}, allowed: 16, today: 16},
		"as many since":         {first: []countingJob{{Allowed: 7}}, second: []countingJob{{Allowed: 7}}, allowed: 14, today: 14},
		"only refused":          {first: []countingJob{{Denied: 4}}, second: []countingJob{{Denied: 4}}, denied: 8},
		"several processes":     {first: []countingJob{{Allowed: 7}}, second: []countingJob{{Allowed: 3}, {Allowed: 2}, {}, {Allowed: 1}}, allowed: 13, today: 13},
		"killed ones, too":      {first: []countingJob{{Allowed: 7}}, second: []countingJob{{Allowed: 3, Flush: true}, {Allowed: 2, Flush: true}}, killed: true, allowed: 12, today: 12},
		"some saved":            {first: []countingJob{{Allowed: 5, Flush: true}, {Allowed: 2}}, second: []countingJob{{Allowed: 3}}, allowed: 10, today: 10},
		"all saved":             {first: []countingJob{{Allowed: 5, Flush: true}}, second: []countingJob{{Allowed: 3}}, allowed: 8, today: 8},
		"the day before":        {first: []countingJob{{Allowed: 7, At: testTime.Add(-day)}}, second: []countingJob{{Allowed: 3}}, allowed: 10, today: 3},
		"some of it saved then": {first: []countingJob{{Allowed: 4, Flush: true, At: testTime.Add(-day)}, {Allowed: 3, At: testTime.Add(-day)}}, second: []countingJob{{Allowed: 2, At: testTime.Add(-time.Hour)}, {Allowed: 3}}, allowed: 12, today: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCounter(t, &tokenstore.Quota{Requests: 1000, Period: tokenstore.PeriodDay})
			for _, job := range test.first {
				c.run(false, true, job)
			}
			if c.gone() {
				t.Fatal("a killed process leaves no counters file")
			}
			c.takeAway()
			for _, job := range test.second {
				seen := c.run(true, test.killed, job)
				if !strings.Contains(seen.Trouble, c.job.Path+countersSuffix) || !strings.Contains(seen.Trouble, "chown") || !strings.Contains(seen.Trouble, "restart Caddy") {
					t.Errorf("it is said: %q", seen.Trouble)
				}
			}
			if report, err := Check(c.job.Path); err != nil || len(report.Problems) > 0 {
				t.Errorf("%v, %v", report.Problems, err)
			}
			c.giveBack()
			for _, when := range []string{"then", "once more"} {
				seen := c.run(true, true, countingJob{}) // is killed while it may be at it again
				if seen.Before.Allowed != test.allowed || seen.Before.Denied != test.denied || seen.Left != 1000-test.today || seen.Trouble != "" {
					t.Errorf("%s: %d allowed, %d denied, %d left of the quota, %s", when, seen.Before.Allowed, seen.Before.Denied, seen.Left, seen.Trouble)
				}
			}
			seen := c.run(true, false, countingJob{Allowed: 1})
			if seen.Before.Allowed != test.allowed || !c.gone() {
				t.Errorf("at the end %d allowed, the file is gone: %v", seen.Before.Allowed, c.gone())
			}
			if seen := c.run(true, false, countingJob{}); seen.Before.Allowed != test.allowed+1 || seen.Left != 999-test.today {
				t.Errorf("one later: %d allowed, %d left of the quota", seen.Before.Allowed, seen.Left)
			}
			if report, err := Check(c.job.Path); err != nil || len(report.Problems) > 0 {
				t.Errorf("%v, %v", report.Problems, err)
			}
		})
	}
}
