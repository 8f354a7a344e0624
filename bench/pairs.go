package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pair holds a row's results.
type Pair struct {
	Name    string `json:"name"`
	Control bool   `json:"control,omitempty"`
	// Base and Cost are the CPU times per request for the baseline and the subject, in
	// microseconds. Each is the median of all slices.
	Base float64 `json:"base_us"`
	Cost float64 `json:"cost_us"`
	// Added is the median of the differences in CPU time, in microseconds.
	Added float64 `json:"added_us"`
	// Ratio is the spread of Ratios.
	Ratio Spread `json:"cpu_ratio"`
	// Ratios contains each slice's ratio of CPU time per request, subject to baseline.
	Ratios []float64 `json:"cpu_ratios"`
	// Rate is the spread of the ratios of requests completed, subject to baseline.
	Rate Spread `json:"rate_ratio"`
	// Latencies of the baseline and the subject, in microseconds. Each is the median of all
	// slices.
	BaseP50 float64 `json:"base_p50_us"`
	CostP50 float64 `json:"p50_us"`
	BaseP99 float64 `json:"base_p99_us"`
	CostP99 float64 `json:"p99_us"`
	P99     Spread  `json:"p99_ratio"`
}

// comparison is a row with its two servers: a baseline and the row's subject.
type comparison struct {
	row                   row
	base, subject         *server
	baseLoad, subjectLoad *load
	slices                []slice
	// adminSocket is the subject's admin endpoint, if the subject is a Caddy that has one.
	adminSocket string
}

// slice holds both servers' measurements over the same period.
type slice struct{ base, subject measured }

type measured struct {
	volume
	cpu time.Duration
}

// perRequest returns the CPU time per request, in microseconds.
func (m *measured) perRequest() float64 { return micros(m.cpu) / float64(m.requests) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measurePairs measures the rows. It measures one slice of each row in turn, so fluctuations
// in the machine's speed affect all rows and their controls alike.
func measurePairs(ctx context.Context, o options, stores *stores) (pairs []Pair, err error) {
	b := &builder{dir: stores.dir, stores: stores, admin: o.profiles != ""}
	if b.unknown, err = unknownTokens(b.dir); err != nil {
		return nil, err
	}
	chosen := choose(rows(o.tokens), o.only)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no row's name starts with %q", o.only)
	}
	for _, r := range chosen { // filling a store uses all CPUs, so it must happen before pinSelf
		if r.tokens > 0 {
			if _, err := stores.fill(r.tokens, r.limited); err != nil {
				return nil, err
			}
		}
	}
	if err := pinSelf(); err != nil {
		return nil, err
	}
	if b.backend, err = startBackend(ctx); err != nil {
		return nil, err
	}
	comparisons, err := b.comparisons(ctx, chosen)
	defer func() {
		for _, c := range comparisons {
			err = errors.Join(err, c.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, c := range comparisons {
		if err := c.warmUp(ctx, o.slice, o.connections); err != nil {
			return nil, fmt.Errorf("%s: %w", c.row.name, err)
		}
	}
	for i := range o.slices {
		for _, c := range comparisons {
			s, err := c.measure(ctx, o.slice, i)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.row.name, err)
			}
			c.slices = append(c.slices, s)
		}
		fmt.Fprintf(os.Stderr, "\rslice %d of %d", i+1, o.slices)
	}
	fmt.Fprintln(os.Stderr)
	for _, c := range comparisons {
		pairs = append(pairs, c.result())
		if o.profiles != "" && c.row.program == "" {
			if err := c.profile(ctx, o.profiles); err != nil {
				return nil, fmt.Errorf("profile of %s: %w", c.row.name, err)
			}
		}
	}
	return pairs, nil
}

// choose returns the rows whose names start with the prefix, and their groups' controls.
func choose(all []row, prefix string) []row {
	var chosen []row
	groups := make(map[string]bool)
	for _, r := range all {
		if strings.HasPrefix(r.name, prefix) {
			group, _, _ := strings.Cut(r.name, "/")
			groups[group] = true
		}
	}
	for _, r := range all {
		group, _, _ := strings.Cut(r.name, "/")
		if strings.HasPrefix(r.name, prefix) || r.control && groups[group] {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

// startBackend starts the backend in this process and returns its address.
func startBackend(ctx context.Context) (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})
	backend := &http.Server{Addr: address, Handler: handler} //nolint:gosec // only the measured servers call it
	go func() { _ = backend.ListenAndServe() }()
	return address, (&server{address: address}).await(ctx)
}

// comparisons starts a baseline and a subject for each row.
func (b *builder) comparisons(ctx context.Context, chosen []row) (comparisons []*comparison, err error) {
	for _, r := range chosen {
		c := &comparison{row: r}
		comparisons = append(comparisons, c)
		base := row{name: r.name + ", baseline", proxied: r.proxied, secure: r.secure}
		if r.churn {
			base = gateRow(r.name+", baseline", r.tokens)
			base.proxied = r.proxied
		}
		if c.base, c.baseLoad, err = b.build(ctx, &base); err != nil {
			return comparisons, err
		}
		if c.subject, c.subjectLoad, err = b.build(ctx, &r); err != nil {
			return comparisons, err
		}
		c.adminSocket = b.adminSocket()
		if r.invalid { // send the baseline the same requests
			c.baseLoad.requests = c.subjectLoad.requests
			c.baseLoad.good = slices.Repeat([]bool{true}, len(c.subjectLoad.good))
		}
	}
	return comparisons, nil
}

func (c *comparison) close() error {
	var errs []error
	for _, l := range []*load{c.baseLoad, c.subjectLoad} {
		if l != nil {
			l.close()
		}
	}
	for _, s := range []*server{c.base, c.subject} {
		if s != nil {
			errs = append(errs, s.stop())
		}
	}
	return errors.Join(errs...)
}

const maxWarmUp = 10 // slices

// warmUp opens the connections, and runs both servers until every request has been sent, but for at
// most maxWarmUp slices. A token's first use costs ten times as much as later ones, because the
// store reads the token and saves that use immediately. Caddy closes a connection without a request
// after a minute, so the connections must not be opened earlier.
func (c *comparison) warmUp(ctx context.Context, d time.Duration, connections int) error {
	for _, l := range []*load{c.baseLoad, c.subjectLoad} {
		if err := l.dial(ctx, connections); err != nil {
			return err
		}
	}
	for i, sent := 0, 0; i < maxWarmUp && sent < len(c.subjectLoad.requests); i++ {
		s, err := c.measure(ctx, d, 0)
		if err != nil {
			return err
		}
		sent += s.subject.requests
	}
	return nil
}

// measure runs both servers at the same time for one slice. The two loads take turns starting
// first.
func (c *comparison) measure(ctx context.Context, d time.Duration, i int) (s slice, err error) {
	churning, stop := context.WithCancel(ctx)
	defer stop()
	churned := make(chan error, 1)
	if !c.row.churn {
		churned <- nil
	} else {
		go func() { churned <- churn(churning, c.adminSocket) }()
	}
	var (
		failed [2]error
		busy   sync.WaitGroup
	)
	sides := []func(){
		func() { failed[0] = s.base.measure(c.base, c.baseLoad, d) },
		func() { failed[1] = s.subject.measure(c.subject, c.subjectLoad, d) },
	}
	if i%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		busy.Go(side)
	}
	busy.Wait()
	stop()
	return s, errors.Join(failed[0], failed[1], <-churned, ctx.Err())
}

func (m *measured) measure(s *server, l *load, d time.Duration) error {
	before, err := s.cpu()
	if err != nil {
		return err
	}
	if m.volume, err = l.run(d); err != nil {
		return err
	}
	after, err := s.cpu()
	m.cpu = after - before
	if err == nil && m.requests == 0 {
		err = errors.New("no request completed in the slice")
	}
	return err
}

// result summarizes the slices.
func (c *comparison) result() Pair {
	p := Pair{Name: c.row.name, Control: c.row.control}
	column := func(of func(*slice) float64) []float64 {
		var values []float64
		for i := range c.slices {
			values = append(values, of(&c.slices[i]))
		}
		return values
	}
	p.Base = median(column(func(s *slice) float64 { return s.base.perRequest() }))
	p.Cost = median(column(func(s *slice) float64 { return s.subject.perRequest() }))
	p.Added = median(column(func(s *slice) float64 { return s.subject.perRequest() - s.base.perRequest() }))
	p.Ratios = column(func(s *slice) float64 { return s.subject.perRequest() / s.base.perRequest() })
	p.Ratio = spread(p.Ratios)
	p.Rate = spread(column(func(s *slice) float64 { return float64(s.subject.requests) / float64(s.base.requests) }))
	p.BaseP50 = median(column(func(s *slice) float64 { return micros(s.base.quantile(0.5)) }))
	p.CostP50 = median(column(func(s *slice) float64 { return micros(s.subject.quantile(0.5)) }))
	p.BaseP99 = median(column(func(s *slice) float64 { return micros(s.base.quantile(0.99)) }))
	p.CostP99 = median(column(func(s *slice) float64 { return micros(s.subject.quantile(0.99)) }))
	p.P99 = spread(
		column(func(s *slice) float64 { return micros(s.subject.quantile(0.99)) / micros(s.base.quantile(0.99)) }))
	return p
}
