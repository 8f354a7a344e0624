package caddymodule

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// Request outcomes other than refusal codes.
const (
	outcomeOK      = tokenstore.OutcomeOK
	outcomeBrowser = "browser"
)

// metrics holds collectors that outlive configurations. Caddy creates a new registry for each
// configuration, but counters should not reset on every reload. The collectors can be
// registered with several registries.
var metrics = newCollectors()

// collectors holds the metrics about requests and flushes.
type collectors struct {
	requests *prometheus.CounterVec
	// outcomes maps outcomes to their counters in requests, so that lookups need no lock.
	outcomes map[string]prometheus.Counter
	passed   prometheus.Counter // the counter for outcomeOK
	verify   prometheus.Histogram
	flush    prometheus.Histogram
}

func newCollectors() *collectors {
	c := &collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: "bearer_auth", Name: "requests_total",
			Help: "Requests at the gates by outcome: ok, browser (passed through without a token), " +
				"or the refusal code.",
		}, []string{"outcome"}),
		outcomes: make(map[string]prometheus.Counter),
		verify: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "bearer_auth", Name: "verify_duration_seconds",
			Help:    "Time taken to decide on a request (1 in 64 sampled).",
			Buckets: prometheus.ExponentialBuckets(250e-9, 4, 10), // to 65 ms
		}),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "api_tokens", Name: "usage_flush_duration_seconds",
			Help:    "Time taken to flush pending usage to the store.",
			Buckets: prometheus.ExponentialBuckets(500e-6, 4, 8), // to 8 s
		}),
	}
	outcomes := []string{outcomeOK, outcomeBrowser}
	for _, code := range gate.Codes() {
		outcomes = append(outcomes, string(code))
	}
	for _, outcome := range outcomes {
		c.outcomes[outcome] = c.requests.WithLabelValues(outcome) // makes every outcome appear from the start
	}
	c.passed = c.outcomes[outcomeOK]
	return c
}

// count counts a request with the given outcome.
func (c *collectors) count(outcome string) { c.outcomes[outcome].Inc() }

// verifySample is the sampling rate of decision times: 1 in verifySample.
const verifySample = 64

// startDecision returns the current time if it samples the decision, or the zero time if it
// doesn't.
func (*collectors) startDecision() time.Time {
	if rand.Uint32()%verifySample != 0 { //nolint:gosec // a sample
		return time.Time{}
	}
	return time.Now()
}

// observeDecision records how long a decision took. begun is its start time. If begun is zero,
// observeDecision does nothing.
func (c *collectors) observeDecision(begun time.Time) {
	if !begun.IsZero() {
		c.verify.Observe(time.Since(begun).Seconds())
	}
}

// register registers the collectors and the store's metrics with a configuration's registry.
// No other code registers them.
func (a *App) register(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	var errs []error
	for _, collector := range []prometheus.Collector{metrics.requests, metrics.verify, metrics.flush,
		storeCollector{a}} {
		errs = append(errs, registry.Register(collector))
	}
	return errors.Join(errs...)
}

// storeCollector collects the metrics of a configuration's store.
type storeCollector struct{ app *App }

var (
	tokensDesc = prometheus.NewDesc("caddy_api_tokens", "Tokens by status, counted at most once a minute.",
		[]string{"status"}, nil)
	expiringDesc = prometheus.NewDesc("caddy_api_tokens_expiring",
		"Active tokens that expire within this time and are in the last quarter of their lifetime, "+
			"counted at most once a minute.", []string{"within"}, nil)
	pendingDesc = prometheus.NewDesc("caddy_api_tokens_usage_pending",
		"Tokens with usage that has not been flushed to the store yet.", nil, nil)
	behindDesc = prometheus.NewDesc("caddy_api_tokens_clock_behind_seconds",
		"Seconds that the clock is behind the latest time recorded in the token store.", nil, nil)
	upDesc = prometheus.NewDesc("caddy_api_tokens_store_up",
		"Whether the token store is readable and its last write succeeded.", nil, nil)
	sizeDesc = prometheus.NewDesc("caddy_api_tokens_store_bytes", "Size of the token store in bytes.", nil, nil)
	freeDesc = prometheus.NewDesc("caddy_api_tokens_disk_free_bytes", "Free space in bytes on the token store's disk.",
		nil, nil)
	repairsDesc = prometheus.NewDesc("caddy_api_tokens_store_repairs",
		"Repairs of a damaged token store since it was opened.", nil, nil)
	replicaAgeDesc = prometheus.NewDesc("caddy_api_tokens_replica_age_seconds",
		"Age in seconds of this gate's copy of a shared token store.", nil, nil)
	nodesDesc = prometheus.NewDesc("caddy_api_tokens_nodes",
		"Gates that share the token store by state: live (connected to the shared store) or gone.",
		[]string{"state"}, nil)
)

// expiringWithin holds the values of expiringDesc's "within" label.
var expiringWithin = []struct {
	name string
	time time.Duration
}{
	{"1d", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour},
}

// Describe implements prometheus.Collector.
func (storeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{tokensDesc, expiringDesc, pendingDesc, behindDesc, upDesc, sizeDesc,
		freeDesc, repairsDesc, replicaAgeDesc, nodesDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. If the store doesn't respond, Collect reports only
// that.
func (c storeCollector) Collect(collected chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	store := c.app.store.current()
	if store == nil || store.Ping() != nil {
		gauge(upDesc, 0)
		return
	}
	health := store.Health()
	up := 1.0
	if health.Write != nil || store.Stale() != nil {
		up = 0
	}
	gauge(upDesc, up)
	gauge(sizeDesc, float64(health.Size))
	if health.DiskFree >= 0 {
		gauge(freeDesc, float64(health.DiskFree))
	}
	gauge(repairsDesc, float64(len(health.Repairs)))
	if store.Shared() {
		collectShared(gauge, store.Store)
	}
	gauge(pendingDesc, float64(store.Pending()))
	gauge(behindDesc, store.ClockBehind().Truncate(time.Second).Seconds())
	census, err := store.census.take(store.Store)
	if err != nil {
		return
	}
	for status, n := range census.ByStatus {
		gauge(tokensDesc, float64(n), status.String())
	}
	for i, within := range expiringWithin {
		gauge(expiringDesc, float64(census.Expiring[i]), within.name)
	}
}

// collectShared collects the metrics that only shared stores have. A store that has never been
// reached has no age.
func collectShared(gauge func(*prometheus.Desc, float64, ...string), store *tokenstore.Store) {
	if asOf := store.Contact().AsOf; !asOf.IsZero() {
		gauge(replicaAgeDesc, max(0, store.Now().Sub(asOf)).Seconds())
	}
	var live, gone float64
	for _, n := range store.Nodes() {
		if n.Live {
			live++
		} else {
			gone++
		}
	}
	gauge(nodesDesc, live, "live")
	gauge(nodesDesc, gone, "gone")
}

// censusAge is how long a census is reused, because taking a new one reads every token.
const censusAge = time.Minute

// census caches the latest count of a store's tokens. It outlives configurations, so that
// reloads don't cause additional counts.
type census struct {
	mu    sync.Mutex
	last  tokenstore.Census
	taken time.Time
}

func (c *census) take(store *tokenstore.Store) (tokenstore.Census, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.taken.IsZero() && time.Since(c.taken) < censusAge {
		return c.last, nil
	}
	within := make([]time.Duration, 0, len(expiringWithin))
	for _, w := range expiringWithin {
		within = append(within, w.time)
	}
	counted, err := store.Census(context.Background(), within...)
	if err != nil {
		return tokenstore.Census{}, err
	}
	c.last, c.taken = counted, time.Now()
	return counted, nil
}

var _ prometheus.Collector = storeCollector{}
