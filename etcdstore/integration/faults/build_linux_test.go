package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// buildMember builds the etcd member once and returns the executable's path.
var buildMember = sync.OnceValues(func() (string, error) {
	name := filepath.Join(runDir, "member")
	out, err := exec.Command("go", "build", "-o", name, "../cmd/etcdmember").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the etcd member: %w: %s", err, out)
	}
	return name, nil
})

// steppedClock is added to the product's source. With it, the product's clock can be stepped:
// a file contains the number of seconds. Like a step of the machine's clock, a step doesn't
// change the monotonic clock. The layout of time.Time is that of Go 1.9 and later.
const steppedClock = `package steppedclock

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

var (
	file = os.Getenv("CLOCK_STEP")
	step atomic.Int64
)

func init() {
	if file == "" {
		return
	}
	read()
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			read()
		}
	}()
}

func read() {
	text, _ := os.ReadFile(file)
	if seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
		step.Store(seconds)
	}
}

func Now() time.Time {
	now := time.Now()
	seconds := step.Load()
	if wall := (*uint64)(unsafe.Pointer(&now)); *wall>>63 == 1 { // has a monotonic reading
		*wall += uint64(seconds) << 30
		return now
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

func Since(t time.Time) time.Duration { return Now().Sub(t) }
func Until(t time.Time) time.Duration { return t.Sub(Now()) }
`

var (
	readsClock    = regexp.MustCompile(`\btime\.(Now|Since|Until)\b`)
	packageClause = regexp.MustCompile(`(?m)^package \w+$`)
)

// clockOverlay writes an overlay for the go command in which all packages of the product that
// read the clock use steppedClock.
func clockOverlay(root string) (file string, err error) {
	replace := make(map[string]string)
	put := func(source, text string) error {
		target := filepath.Join(runDir, fmt.Sprintf("overlay-%d.go", len(replace)))
		replace[source] = target
		return os.WriteFile(target, []byte(text), 0o600)
	}
	err = put(filepath.Join(root, "internal", "steppedclock", "steppedclock.go"), steppedClock)
	if err != nil {
		return "", err
	}
	for _, dir := range []string{"admin", "caddymodule", "etcdstore", "gate", "token", "tokenstore"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "integration":
				return fs.SkipDir
			case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil || !readsClock.Match(text) {
				return err
			}
			clause := packageClause.FindIndex(text)
			if clause == nil {
				return fmt.Errorf("%s has no package clause", name)
			}
			rest := readsClock.ReplaceAll(text[clause[1]:], []byte("steppedclock.$1"))
			return put(name, string(text[:clause[1]])+
				"; import \"github.com/mollygate/mollygate/internal/steppedclock\""+
				string(rest)+"\nvar _ time.Duration\n")
		})
		if err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(runDir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// buildGate builds Caddy with the product once and returns the executable's path. It builds in
// the module of the etcd store, so that this module's requirements don't change the versions
// that are linked.
var buildGate = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(*gateSource)
	if err != nil {
		return "", err
	}
	overlay, err := clockOverlay(root)
	if err != nil {
		return "", fmt.Errorf("preparing the stepped clock: %w", err)
	}
	name := filepath.Join(runDir, "gate")
	build := exec.Command("go", "build", "-C", filepath.Join(root, "etcdstore"), "-overlay", overlay,
		fmt.Sprintf("-race=%t", *gateRace), "-o", name, "./cmd/mollygate")
	build.Env = append(os.Environ(), "GOTOOLCHAIN="+runtime.Version()) // the Go version of this test
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the gate: %w: %s", err, out)
	}
	return name, nil
})
