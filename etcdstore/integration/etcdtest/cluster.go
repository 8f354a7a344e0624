// Package etcdtest runs etcd clusters for tests.
package etcdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// startTimeout limits the time for a cluster to become ready. Other tests may use all CPUs.
const startTimeout = time.Minute

// Cluster is a running etcd cluster. Its methods must not be called concurrently.
type Cluster struct {
	t       testing.TB
	scheme  string
	host    string
	options []Option
	configs []*embed.Config
	members []*embed.Etcd // nil if stopped
}

// Option changes the configuration of all members.
type Option func(*embed.Config)

// Quota returns an option that limits the size of the database in bytes.
func Quota(bytes int64) Option {
	return func(config *embed.Config) { config.QuotaBackendBytes = bytes }
}

// Start starts a cluster. It stops when the test ends.
func Start(t testing.TB, members int, options ...Option) *Cluster {
	t.Helper()
	return start(t, "http", members, options)
}

// StartTLS starts a cluster that requires client certificates. The names of its server
// certificate are those of the certificates' server.
func StartTLS(t testing.TB, certificates *Certificates, members int, options ...Option) *Cluster {
	t.Helper()
	secure := func(config *embed.Config) {
		config.ClientTLSInfo = transport.TLSInfo{
			CertFile:       certificates.ServerCert,
			KeyFile:        certificates.ServerKey,
			TrustedCAFile:  certificates.CA,
			ClientCertAuth: true,
		}
	}
	return start(t, "https", members, append(options, secure))
}

func start(t testing.TB, scheme string, members int, options []Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, scheme: scheme, host: loopback(), options: options, members: make([]*embed.Etcd, members)}
	c.configure(members)
	t.Cleanup(c.Close)
	for i := range members {
		c.start(i)
	}
	for i := range members {
		c.waitReady(i)
	}
	return c
}

// loopback returns a random loopback address, so that no other process is likely to use its
// ports. Systems that have only one loopback address get that.
func loopback() string {
	//nolint:gosec // it need not be unpredictable
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", host+":0")
	if err != nil {
		return "127.0.0.1"
	}
	_ = listener.Close()
	return host
}

// freeURL returns a URL with a port that is free at the moment. The port must be known in
// advance, because members know each other's URLs and keep their own when they restart.
func (c *Cluster) freeURL(scheme string) url.URL {
	c.t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", c.host+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return url.URL{Scheme: scheme, Host: listener.Addr().String()}
}

func (c *Cluster) configure(members int) {
	c.t.Helper()
	dir := c.t.TempDir()
	initial := make([]string, members)
	for i := range members {
		config := embed.NewConfig()
		config.Name = fmt.Sprintf("member%d", i)
		config.Dir = filepath.Join(dir, config.Name)
		config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		client, peer := c.freeURL(c.scheme), c.freeURL("http")
		config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		config.InitialClusterToken = c.host
		config.TickMs, config.ElectionMs = 50, 500
		config.UnsafeNoFsync = true
		config.BcryptCost = 4 // the lowest: logins are slow with the race detector
		config.EnableGRPCGateway = false
		for _, option := range c.options {
			option(config)
		}
		initial[i] = config.Name + "=" + peer.String()
		c.configs = append(c.configs, config)
	}
	for _, config := range c.configs {
		config.InitialCluster = strings.Join(initial, ",")
	}
}

// Endpoints returns the URLs of all members, including those that are stopped.
func (c *Cluster) Endpoints() []string {
	endpoints := make([]string, len(c.configs))
	for i, config := range c.configs {
		endpoints[i] = config.ListenClientUrls[0].String()
	}
	return endpoints
}

// Client returns an etcd client, which is closed when the test ends. It can't be used with
// clusters that use TLS.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Leader returns the number of the member that is the leader. It waits until there is one.
func (c *Cluster) Leader() int {
	c.t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for i, member := range c.members {
			if member != nil && member.Server.Leader() == member.Server.MemberID() {
				return i
			}
		}
	}
	c.t.Fatal("etcd has no leader")
	return -1
}

// Stop stops a member. Its data remains.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	if member := c.members[i]; member != nil {
		c.members[i] = nil
		member.Server.HardStop()
		member.Close()
	}
}

// Start starts a stopped member with its data. If most members run then, it waits until the
// member is ready.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	c.start(i)
	running := 0
	for _, member := range c.members {
		if member != nil {
			running++
		}
	}
	if running > len(c.members)/2 {
		c.waitReady(i)
	}
}

func (c *Cluster) start(i int) {
	c.t.Helper()
	config := *c.configs[i]
	member, err := embed.StartEtcd(&config)
	if err != nil {
		c.t.Fatalf("starting etcd member %d: %v", i, err)
	}
	c.members[i] = member
}

func (c *Cluster) waitReady(i int) {
	c.t.Helper()
	select {
	case <-c.members[i].Server.ReadyNotify():
	case err := <-c.members[i].Err():
		c.t.Fatalf("etcd member %d failed: %v", i, err)
	case <-time.After(startTimeout):
		c.t.Fatalf("etcd member %d is not ready after %v", i, startTimeout)
	}
}

// Close stops all members.
func (c *Cluster) Close() {
	for i := range c.members {
		c.Stop(i)
	}
}

// Connect returns a cluster that another process runs. Its members can't be stopped or started.
func Connect(t testing.TB, endpoints []string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for _, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		config := embed.NewConfig()
		config.ListenClientUrls = []url.URL{*u}
		c.configs = append(c.configs, config)
	}
	return c
}
