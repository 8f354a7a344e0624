//go:build linux

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// endpointsVariable holds etcd's URLs in the child process of TestFullDisk.
const endpointsVariable = "MOLLYGATE_TEST_ENDPOINTS"

// fullDisk makes all writes to files fail, or lets them succeed again.
func fullDisk(t testing.TB, full bool) {
	t.Helper()
	var limit syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	if limit.Cur = limit.Max; full {
		limit.Cur = 1
	}
	check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

// fullDiskTests are the tests of nodes that can't write their replicas.
var fullDiskTests = map[string]func(*testing.T, *etcdtest.Cluster, string, []*node){
	"Changes": testFullDiskChanges, "List": testFullDiskList, "New": testFullDiskNew, "Accept": testFullDiskAccept,
}

// TestFullDisk runs itself in other processes, because the limit on the size of files affects a
// whole process.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if endpoints := os.Getenv(endpointsVariable); endpoints != "" {
		runFullDiskTests(t, strings.Split(endpoints, ","))
		return
	}
	etcd := etcdtest.Start(t, 1)
	binary, err := os.Executable()
	check(t, err)
	for name := range fullDiskTests {
		child := exec.CommandContext(t.Context(), binary, "-test.run=^TestFullDisk$/^"+name+"$", "-test.v",
			"-test.timeout=5m")
		child.Env = append(os.Environ(), endpointsVariable+"="+strings.Join(etcd.Endpoints(), ","))
		output, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(output), "--- PASS: TestFullDisk/"+name) {
			for line := range strings.Lines(string(output)) {
				if !strings.Contains(line, "logger.go") {
					t.Log(strings.TrimRight(line, "\n"))
				}
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}

// runFullDiskTests runs the tests in this process.
func runFullDiskTests(t *testing.T, endpoints []string) {
	signal.Ignore(syscall.SIGXFSZ)
	etcd := etcdtest.Connect(t, endpoints)
	t.Cleanup(func() { fullDisk(t, false) })
	for name, test := range fullDiskTests {
		t.Run(name, func(t *testing.T) { test(t, etcd, prefixOf(t.Name()), startAll(t, etcd, quick)) })
	}
}

// settled waits until all nodes have received all changes, although they can't write them.
func settled(t testing.TB, nodes ...*node) {
	t.Helper()
	last := nodes[0].link.engine.(*etcdstore.Engine)
	revision := put(t, last, "other", "")
	for _, n := range nodes {
		eventually(t, func() error { return n.reached(revision) })
	}
}

func testFullDiskChanges(t *testing.T, etcd *etcdtest.Cluster, prefix string, nodes []*node) {
	tok, secret := nodes[0].create(t)
	deleted, deletedSecret := nodes[0].create(t)
	settled(t, nodes...)
	wantVerdict(t, nodes, secret, active)
	fullDisk(t, true)
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	made, madeSecret := nodes[1].create(t)
	check(t, nodes[2].Delete(deleted.ID, token.AnyVersion, testActor))
	settled(t, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	wantVerdict(t, nodes, deletedSecret, unknown)
	wantVerdict(t, nodes, madeSecret, active)
	_, rotated, err := nodes[0].Rotate(testPolicy, made.ID, token.Rotation{}, testActor)
	check(t, err)
	settled(t, nodes...)
	wantVerdict(t, nodes, madeSecret, unknown)
	wantVerdict(t, nodes, parse(t, rotated), active)
	if err := nodes[1].Sync(t.Context()); !errors.Is(err, tokenstore.ErrBehind) {
		t.Errorf("Sync: %v", err)
	}
	request := tokenstore.Request{Key: "key", Body: []byte("body")}
	once, _, _, err := nodes[0].CreateOnce(testPolicy, draft(), testActor, request)
	check(t, err)
	settled(t, nodes...)
	for _, n := range nodes {
		if tok, _, repeated, err := n.CreateOnce(testPolicy, draft(), testActor, request); err == nil &&
			(!repeated || tok.ID != once.ID) || err != nil && !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Errorf("a repeat: %v, %v", repeated, err)
		}
	}
	fullDisk(t, false)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	for _, n := range nodes {
		tok, _, repeated, err := n.CreateOnce(testPolicy, draft(), testActor, request)
		check(t, err)
		if !repeated || tok.ID != once.ID {
			t.Errorf("%s: a repeat made another token", filepath.Base(n.dir))
		}
	}
}

func testFullDiskList(t *testing.T, etcd *etcdtest.Cluster, prefix string, nodes []*node) {
	tok, secret := nodes[0].create(t)
	settled(t, nodes...)
	fullDisk(t, true)
	made, madeSecret := nodes[1].create(t)
	kept, keptSecret := nodes[1].create(t)
	settled(t, nodes...)
	wantVerdict(t, nodes, madeSecret, active)
	nodes[2].link.cut()
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	check(t, nodes[0].Delete(made.ID, token.AnyVersion, testActor))
	_, rotated, err := nodes[0].Rotate(testPolicy, kept.ID, token.Rotation{}, testActor)
	check(t, err)
	(&attacker{t, etcd.Client(), prefix}).compact()
	nodes[2].link.join()
	eventually(t, nodes[2].problem)
	settled(t, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	wantVerdict(t, nodes, madeSecret, unknown)
	wantVerdict(t, nodes, keptSecret, unknown)
	wantVerdict(t, nodes, parse(t, rotated), active)
	fullDisk(t, false)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, madeSecret, unknown)
}

func testFullDiskNew(t *testing.T, etcd *etcdtest.Cluster, prefix string, nodes []*node) {
	_, secret := nodes[0].create(t)
	settled(t, nodes...)
	dir := filepath.Join(t.TempDir(), "new")
	check(t, mkdir(dir))
	late := startNode(t, etcd, prefix, dir, quick, func(o *nodeOptions) {
		o.alone = true
		o.cut = true
	})
	fullDisk(t, true)
	late.link.join()
	eventually(t, func() error {
		if problem := late.problem(); !errors.Is(problem, syscall.EFBIG) {
			return fmt.Errorf("got problem %w, want that the disk is full", problem)
		}
		return nil
	})
	for range 50 {
		if got := late.verdict(secret); got == unknown {
			t.Fatal("a new node doesn't know a token")
		}
		settled(t, nodes...)
	}
	fullDisk(t, false)
	wantEqual(t, etcd, prefix, append(nodes, late)...)
	eventually(t, func() error { _, err := late.Authenticate(secret, late.Now()); return err })
}

func testFullDiskAccept(t *testing.T, etcd *etcdtest.Cluster, prefix string, nodes []*node) {
	tok, secret := nodes[0].create(t)
	client := etcd.Client()
	older := copyStore(t, client, prefix)
	settled(t, nodes...)
	fullDisk(t, true)
	_, err := nodes[0].Disable(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	made, madeSecret := nodes[0].create(t)
	settled(t, nodes...)
	for _, n := range nodes {
		n.link.cut()
	}
	putBack(t, client, prefix, older)
	for _, n := range nodes {
		n.link.join()
	}
	wantLost(t, made.ID, nodes...)
	wantVerdict(t, nodes, secret, disabled)
	nodes[1].accept(t)
	for _, n := range nodes {
		eventually(t, n.problem)
	}
	settled(t, nodes...)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, madeSecret, unknown)
	fullDisk(t, false)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
}
