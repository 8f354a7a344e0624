package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// cluster is three etcd members and several gates that run until the test ends.
type cluster struct {
	t       *testing.T
	dir     string
	network *network
	// clients is the namespace of all clients of the gates. Faults don't cut it off.
	clients *namespace
	members []*member
	gates   []*gate
	history *history
	// admin is an admin token.
	admin string
}

const clientsIP = "10.77.0.2"

// newCluster prepares the network of a cluster and starts the given number of members.
func newCluster(t *testing.T, members int) *cluster {
	t.Helper()
	c := &cluster{t: t, network: startNetwork(t), history: newHistory()}
	var err error
	if c.dir, err = os.MkdirTemp(runDir, "run-"); err != nil { //nolint:usetesting // socket paths are limited in length
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	if c.clients, err = c.network.join(clientsIP); err != nil {
		t.Fatal(err)
	}
	if members > 0 {
		c.startMembers(members)
	}
	return c
}

func (c *cluster) startMembers(count int) {
	c.t.Helper()
	program, err := buildMember()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range count {
		m := &member{ip: fmt.Sprintf("10.77.0.%d", 11+i)}
		p, n, w := c.node(fmt.Sprintf("member%d", i), m.ip)
		p.namespace, m.process, m.wall, m.data = n, p, w, filepath.Join(p.dir, "data")
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		m.command = []string{program, "-name", m.name, "-data-dir", m.data, "-client-url", m.clientURL(),
			"-peer-url", m.peerURL(), "-initial-cluster", peers(c.members)}
		if err := m.start(); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.etcdHealthy(c.t.Context()); err != nil {
		for _, m := range c.members {
			c.t.Logf("%s:\n%s", m.name, m.logTail())
		}
		c.t.Fatal(err)
	}
}

// node prepares a node of the cluster without starting its process.
func (c *cluster) node(name, ip string) (*process, *namespace, *wall) {
	c.t.Helper()
	n, err := c.network.join(ip)
	if err != nil {
		c.t.Fatal(err)
	}
	w, err := newWall(n)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &process{name: name, namespace: n, dir: filepath.Join(c.dir, name), env: os.Environ()}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	return p, n, w
}

// startGates starts gates with the given store and waits until they serve. With disk, each
// gate's data is on a disk of that size.
func (c *cluster) startGates(count int, s store, disk string) {
	c.t.Helper()
	program, err := buildGate()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range count {
		g := &gate{number: i, ip: fmt.Sprintf("10.77.0.%d", 21+i)}
		p, n, w := c.node(fmt.Sprintf("gate%d", i), g.ip)
		p.namespace, g.process, g.wall, g.data = n, p, w, filepath.Join(p.dir, "store")
		if err := os.Mkdir(g.data, 0o700); err != nil {
			c.t.Fatal(err)
		}
		if disk != "" {
			err := n.do(func() error { return syscall.Mount("tmpfs", g.data, "tmpfs", 0, "size="+disk) })
			if err != nil {
				c.t.Fatalf("mounting a small disk: %v", err)
			}
		}
		if g.backend, err = startBackend(n); err != nil {
			c.t.Fatal(err)
		}
		file := filepath.Join(p.dir, "Caddyfile")
		if err := os.WriteFile(file, []byte(caddyfile(s)), 0o600); err != nil {
			c.t.Fatal(err)
		}
		p.command = []string{program, "run", "--config", file}
		p.env = []string{"DIR=" + p.dir, "DATA=" + g.data, "IP=" + g.ip, "HOME=" + p.dir, "XDG_DATA_HOME=" + p.dir,
			"XDG_CONFIG_HOME=" + p.dir, "PATH=" + os.Getenv("PATH"), "CLOCK_STEP=" + filepath.Join(p.dir, "clock-step")}
		c.gates = append(c.gates, g)
		if err := g.start(); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, g := range c.gates {
		if err := g.ready(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	if c.admin, err = c.createAdmin(c.gates[0]); err != nil {
		c.t.Fatal(err)
	}
	// The other gates see the admin token soon.
	for _, g := range c.gates {
		c.eventually(time.Minute, g.name+" knows the admin token", func() bool {
			answer := c.newClient(g).do(c.t.Context(), "GET", "scopes", nil, 0)
			return answer.Status == 200
		})
	}
}

// eventually waits until condition holds, and fails the test if it doesn't in time.
func (c *cluster) eventually(patience time.Duration, what string, condition func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			c.t.Fatalf("timed out after %s waiting until %s", patience, what)
		}
		select {
		case <-c.t.Context().Done():
			c.t.Fatal("the test ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recover restarts what doesn't run and waits until all members and gates work.
func (c *cluster) recover(ctx context.Context) error {
	for _, m := range c.members {
		if !m.running() {
			m.kill()
			if err := m.start(); err != nil {
				return err
			}
		}
	}
	if len(c.members) > 0 {
		if err := c.etcdHealthy(ctx); err != nil {
			return err
		}
	}
	for _, g := range c.gates {
		if err := g.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends all processes, checks that none of them has crashed, and removes the files unless
// the test has failed.
func (c *cluster) close() {
	for _, g := range c.gates {
		if err := g.stop(20 * time.Second); err != nil {
			c.t.Errorf("%v\n%s", err, g.logTail())
		}
		for _, crash := range g.crashed() {
			c.t.Errorf("%s\n%s", crash, g.logTail())
		}
		if g.backend != nil {
			_ = g.backend.server.Close()
		}
	}
	for _, m := range c.members {
		m.kill()
		for _, crash := range m.crashed() {
			c.t.Errorf("%s\n%s", crash, m.logTail())
		}
	}
	if c.t.Failed() {
		c.keep()
	}
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Error(err)
	}
}

// keep saves the history and the logs of a failed test.
func (c *cluster) keep() {
	dir := *clusterKeep
	if dir == "" {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, fmt.Sprintf("mollygate-%s-%d", filepath.Base(c.t.Name()), os.Getpid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Error(err)
		return
	}
	_, err := c.history.dump(dir)
	for _, p := range c.processes() {
		text, readErr := os.ReadFile(p.logFile())
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, p.name+".log"), text, 0o600))
	}
	c.t.Logf("kept the history and the logs in %s (%v)", dir, err)
}

func (c *cluster) processes() (list []*process) {
	for _, m := range c.members {
		list = append(list, m.process)
	}
	for _, g := range c.gates {
		list = append(list, g.process)
	}
	return list
}
