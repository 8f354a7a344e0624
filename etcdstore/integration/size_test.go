package integration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/gate"
	_ "github.com/mollygate/mollygate/mollymawk" // registers the routes
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// BenchmarkSize measures what the sizes in docs/cluster.md say. It makes no sense to run it more
// than once:
//
//	go test -C etcdstore/integration -run '^$' -bench Size -benchtime 1x .
func BenchmarkSize(b *testing.B) {
	for _, tokens := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			for b.Loop() {
				measureSize(b, tokens)
			}
		})
	}
}

const (
	changes = 1000
	// maxUsed is the maximum number of tokens that are used.
	maxUsed = 10_000
	// useFor is how long tokens are used. It covers several reports.
	useFor = 30 * time.Second
)

var sizePolicy = func() token.Policy {
	table, _ := gate.TableByName("mollymawk") // registered by the import above
	return token.Policy{Prefixes: token.Prefixes{token.DefaultPrefix}, Accounts: []string{"default"},
		Catalog: gate.Catalog(table)}
}()

// sizes measures a cluster with one member.
type sizes struct {
	*testing.B
	etcd   *etcdtest.Cluster
	client *clientv3.Client
}

func measureSize(b *testing.B, tokens int) {
	path := filepath.Join(b.TempDir(), "tokens.db")
	credentials := createTokens(b, path, tokens)
	etcd := etcdtest.Start(b, 1)
	m := sizes{b, etcd, etcd.Client()}

	a := openNode(b, etcd, etcdstore.DefaultPrefix, b.TempDir())
	began := time.Now()
	_, err := a.Restore(b.Context(), path, tokenstore.AuditEntry{Time: began, Actor: "benchmark", Action: "restore"})
	check(b, err)
	b.ReportMetric(time.Since(began).Seconds(), "restore-s")
	m.sync(a)
	m.compact()
	b.ReportMetric(float64(m.inUse())/float64(tokens), "etcd-B/token")
	for part, name := range map[string]string{"/t/": "etcd-record-B/token", "/a/": "etcd-audit-B/token"} {
		b.ReportMetric(float64(m.records(part))/float64(tokens), name)
	}
	b.ReportMetric(float64(a.Health().Size)/float64(tokens), "replica-B/token")

	// A new node, which reads through a proxy.
	proxy, url := etcd.Proxy(0)
	dir := b.TempDir()
	began = time.Now()
	node := m.open(url, dir)
	m.serve(node)
	b.ReportMetric(time.Since(began).Seconds(), "first-serve-s")
	b.ReportMetric(float64(proxy.Answered())/float64(tokens), "first-read-B/token")
	check(b, node.Close())
	began = time.Now()
	node = m.open(url, dir)
	m.serve(node)
	b.ReportMetric(time.Since(began).Seconds(), "restart-serve-s")
	m.sync(node)
	b.ReportMetric(time.Since(began).Seconds(), "restart-current-s")

	idle := m.during(proxy, useFor/3, func() {})
	b.ReportMetric(idle, "idle-B/s")
	store, err := tokenstore.Open(a, tokenstore.Options{})
	check(b, err)
	m.change(store, proxy, node, credentials[len(credentials)-changes:], idle)
	for _, used := range []int{100, maxUsed} {
		m.use(store, proxy, credentials[:used], idle)
	}
	check(b, store.Close())
	check(b, node.Close())
}

// createTokens creates a store with tokens, and returns the credentials of some of them.
func createTokens(b *testing.B, path string, tokens int) []token.Credential {
	b.Helper()
	backend, err := bolt.Open(path)
	check(b, err)
	store, err := tokenstore.Open(backend, tokenstore.Options{})
	check(b, err)
	credentials := make([]token.Credential, min(tokens, maxUsed))
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 200 { // share transactions
		workers.Go(func() {
			for i := range numbers {
				_, secret, err := store.Create(sizePolicy, token.Draft{Kind: token.KindAPI,
					Name: fmt.Sprintf("pipeline %d", i), Preset: "deploy",
					Expiry: token.Expiry{ExpiresAt: time.Now().Add(90 * 24 * time.Hour)}},
					tokenstore.Actor{Name: "benchmark"})
				if err != nil {
					b.Error(err)
					continue
				}
				if i < len(credentials) {
					credentials[i], err = sizePolicy.Prefixes.Parse(secret.Reveal())
					if err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	for i := range tokens {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	check(b, store.Close())
	return credentials
}

// open opens a node that reaches etcd at url.
func (m sizes) open(url, dir string) *cluster.Backend {
	m.Helper()
	engine, err := etcdstore.NewEngine(etcdstore.Config{Endpoints: []string{url}})
	check(m, err)
	replica, err := bolt.OpenReplica(filepath.Join(dir, "replica.db"))
	check(m, err)
	node, err := cluster.Open(cluster.Options{Engine: engine, Replica: replica, Name: "measured",
		MaxStaleness: time.Hour})
	check(m, err)
	return node
}

// serve waits until the node serves tokens.
func (m sizes) serve(node *cluster.Backend) {
	m.Helper()
	for began := time.Now(); node.Stale() != nil; time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Minute {
			m.Fatal(node.Stale())
		}
	}
}

// sync waits until the node has everything.
func (m sizes) sync(node *cluster.Backend) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), 5*time.Minute)
	defer cancel()
	for err := node.Sync(ctx); err != nil; err = node.Sync(ctx) {
		if ctx.Err() != nil {
			m.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// inUse returns the size of etcd's database.
func (m sizes) inUse() int64 {
	m.Helper()
	time.Sleep(time.Second) // it counts what has been written to the file
	status, err := m.client.Status(m.Context(), m.etcd.Endpoints()[0])
	check(m, err)
	return status.DbSizeInUse
}

// compact deletes the history in etcd.
func (m sizes) compact() {
	m.Helper()
	ctx := m.Context()
	answer, err := m.client.Get(ctx, "any")
	check(m, err)
	_, err = m.client.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
	check(m, err)
	_, err = m.client.Defragment(ctx, m.etcd.Endpoints()[0])
	check(m, err)
}

// records returns the size of the keys and values of the records in one part of the store.
func (m sizes) records(part string) (size int) {
	m.Helper()
	engine := newEngine(m, m.etcd, func(c *etcdstore.Config) { c.Prefix = etcdstore.DefaultPrefix })
	_, err := engine.Snapshot(m.Context(), "g/", func(r cluster.Record) error {
		if strings.Contains(r.Key, part) {
			size += len(etcdstore.DefaultPrefix) + len(r.Key) + len(r.Value)
		}
		return nil
	})
	check(m, err)
	return size
}

// during returns the number of bytes a second that a node receives while f runs, and for at
// least a time.
func (m sizes) during(proxy *etcdtest.Proxy, least time.Duration, f func()) float64 {
	before, began := proxy.Answered(), time.Now()
	f()
	time.Sleep(least - time.Since(began))
	return float64(proxy.Answered()-before) / time.Since(began).Seconds()
}

// change revokes tokens and measures the traffic and the history.
func (m sizes) change(store *tokenstore.Store, proxy *etcdtest.Proxy, node *cluster.Backend,
	credentials []token.Credential, idle float64) {
	m.Helper()
	m.compact()
	before, received, began := m.inUse(), proxy.Answered(), time.Now()
	var made, seen []time.Duration
	for _, c := range credentials {
		match, err := store.Authenticate(c, store.Now())
		check(m, err)
		changing := time.Now()
		_, err = store.Revoke(match.Token.ID, token.AnyVersion, tokenstore.Actor{Name: "benchmark"})
		check(m, err)
		made = append(made, time.Since(changing))
		for {
			tok, err := node.Token(match.Token.ID)
			check(m, err)
			if !tok.RevokedAt.IsZero() {
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		seen = append(seen, time.Since(changing))
	}
	m.sync(node)
	traffic := float64(proxy.Answered()-received) - idle*time.Since(began).Seconds()
	for name, times := range map[string][]time.Duration{"change": made, "seen": seen} {
		slices.Sort(times)
		m.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, name+"-p50-ms")
		m.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	m.ReportMetric(traffic/float64(len(credentials)), "received-B/change")
	m.ReportMetric(float64(m.inUse()-before)/float64(len(credentials)), "etcd-B/change")
}

// use uses tokens every second, and measures what the reports of that cost.
func (m sizes) use(store *tokenstore.Store, proxy *etcdtest.Proxy, credentials []token.Credential, idle float64) {
	m.Helper()
	m.compact()
	before := m.inUse()
	received := m.during(proxy, useFor, func() {
		for began := time.Now(); time.Since(began) < useFor; time.Sleep(time.Second) {
			for _, c := range credentials {
				match, err := store.Authenticate(c, store.Now())
				if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
					m.Fatal(err)
				}
				store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: store.Now(), IP: "203.0.113.7",
					UserAgent: "curl/8.9", Route: "GET /api/unikernels"})
			}
		}
	})
	m.ReportMetric(received-idle, fmt.Sprintf("received-B/s-%d-used", len(credentials)))
	m.ReportMetric(float64(m.inUse()-before)/useFor.Seconds(), fmt.Sprintf("etcd-B/s-%d-used", len(credentials)))
}
