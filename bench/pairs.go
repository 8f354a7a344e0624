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

// Pair is what came out of one row.
type Pair struct {
	Name    string `json:"name"`
	Control bool   `json:"control,omitempty"`
	// Base and Cost are the processor time of a request, in microseconds, without
	// and with what is measured.
	Base float64 `json:"base_us"`
	Cost float64 `json:"cost_us"`
	// Added is the median of the differences, in microseconds.
	Added float64 `json:"added_us"`
	// Ratio is of the processor time of a request, with ÷ without, in each slice.
	Ratio Spread `json:"cpu_ratio"`
	// Ratios are those of the slices, in their order.
	Ratios []float64 `json:"cpu_ratios"`
	// Rate is of the requests that were answered, in each slice.
	Rate Spread `json:"rate_ratio"`
	// Latencies, in microseconds, without and with; medians of the slices.
	BaseP50 float64 `json:"base_p50_us"`
	CostP50 float64 `json:"p50_us"`
	BaseP99 float64 `json:"base_p99_us"`
	CostP99 float64 `json:"p99_us"`
	P99     Spread  `json:"p99_ratio"`
}

// contest is a row with the two servers that it is measured with.
type contest struct {
	row               row
	base, own         *server
	baseLoad, ownLoad *load
	slices            []slice
	// adminSocket is that of the row's Caddy, if it has one.
	adminSocket string
}

// slice is what both servers did in the same moment.
type slice struct{ base, own measured }

type measured struct {
	volume
	cpu time.Duration
}

// perRequest returns the processor time of a request, in microseconds.
func (m *measured) perRequest() float64 { return micros(m.cpu) / float64(m.requests) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measurePairs measures the rows: a slice of each in turn, so that all of them, and the
// controls, see the same moods of the machine.
func measurePairs(ctx context.Context, o options, stores *stores) (pairs []Pair, err error) {
	b := &builder{dir: stores.dir, stores: stores, admin: o.profiles != ""}
	if b.unknown, err = unknownTokens(b.dir); err != nil {
		return nil, err
	}
	chosen := choose(rows(o.tokens), o.only)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no row's name begins with %q", o.only)
	}
	for _, r := range chosen { // before this process is pinned: it takes all processors
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
	contests, err := b.contests(ctx, chosen, o.connections)
	defer func() {
		for _, c := range contests {
			err = errors.Join(err, c.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, c := range contests {
		if err := c.warmUp(ctx, o.slice); err != nil {
			return nil, fmt.Errorf("%s: %w", c.row.name, err)
		}
	}
	for i := range o.slices {
		for _, c := range contests {
			s, err := c.measure(ctx, o.slice, i)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.row.name, err)
			}
			c.slices = append(c.slices, s)
		}
		fmt.Fprintf(os.Stderr, "\rslice %d of %d", i+1, o.slices)
	}
	fmt.Fprintln(os.Stderr)
	for _, c := range contests {
		pairs = append(pairs, c.result())
		if o.profiles != "" && c.row.program == "" {
			if err := c.profile(ctx, o.profiles); err != nil {
				return nil, fmt.Errorf("profile of %s: %w", c.row.name, err)
			}
		}
	}
	return pairs, nil
}

// choose returns the rows whose names begin so, and the controls beside them.
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

// startBackend serves the backend's answer from this process.
func startBackend(ctx context.Context) (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	backend := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // nobody but the servers calls it
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = backend.ListenAndServe() }()
	return address, (&server{address: address}).await(ctx)
}

// contests starts the servers of all rows, each with one to compare it with.
func (b *builder) contests(ctx context.Context, chosen []row, connections int) (contests []*contest, err error) {
	for _, r := range chosen {
		c := &contest{row: r}
		contests = append(contests, c)
		plain := row{name: r.name + ", without", proxied: r.proxied, secure: r.secure}
		if r.churn {
			plain = gateRow(r.name+", without", r.tokens)
			plain.proxied = r.proxied
		}
		if c.base, c.baseLoad, err = b.build(ctx, &plain); err != nil {
			return contests, err
		}
		if c.own, c.ownLoad, err = b.build(ctx, &r); err != nil {
			return contests, err
		}
		c.adminSocket = b.adminSocket()
		if r.bad { // the other one is sent the same
			c.baseLoad.requests, c.baseLoad.good = c.ownLoad.requests, slices.Repeat([]bool{true}, len(c.ownLoad.good))
		}
		for _, l := range []*load{c.baseLoad, c.ownLoad} {
			if err := l.dial(ctx, connections); err != nil {
				return contests, err
			}
		}
	}
	return contests, nil
}

func (c *contest) close() error {
	var errs []error
	for _, l := range []*load{c.baseLoad, c.ownLoad} {
		if l != nil {
			l.close()
		}
	}
	for _, s := range []*server{c.base, c.own} {
		if s != nil {
			errs = append(errs, s.stop())
		}
	}
	return errors.Join(errs...)
}

const maxWarmUp = 10 // slices

// warmUp lets both servers serve until each request was sent, but for no more than
// maxWarmUp slices: a token's first use costs ten times what others do, because it is read
// from the store and saved at once.
func (c *contest) warmUp(ctx context.Context, d time.Duration) error {
	for i, sent := 0, 0; i < maxWarmUp && sent < len(c.ownLoad.requests); i++ {
		s, err := c.measure(ctx, d, 0)
		if err != nil {
			return err
		}
		sent += s.own.requests
	}
	return nil
}

// measure lets both servers serve at the same time. Who is sent the first request
// changes from slice to slice.
func (c *contest) measure(ctx context.Context, d time.Duration, i int) (s slice, err error) {
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
		func() { failed[1] = s.own.measure(c.own, c.ownLoad, d) },
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
		err = errors.New("no request was answered in the slice")
	}
	return err
}

// result sums the slices up.
func (c *contest) result() Pair {
	p := Pair{Name: c.row.name, Control: c.row.control}
	column := func(of func(*slice) float64) []float64 {
		var values []float64
		for i := range c.slices {
			values = append(values, of(&c.slices[i]))
		}
		return values
	}
	p.Base = median(column(func(s *slice) float64 { return s.base.perRequest() }))
	p.Cost = median(column(func(s *slice) float64 { return s.own.perRequest() }))
	p.Added = median(column(func(s *slice) float64 { return s.own.perRequest() - s.base.perRequest() }))
	p.Ratios = column(func(s *slice) float64 { return s.own.perRequest() / s.base.perRequest() })
	p.Ratio = spread(p.Ratios)
	p.Rate = spread(column(func(s *slice) float64 { return float64(s.own.requests) / float64(s.base.requests) }))
	p.BaseP50 = median(column(func(s *slice) float64 { return micros(s.base.quantile(0.5)) }))
	p.CostP50 = median(column(func(s *slice) float64 { return micros(s.own.quantile(0.5)) }))
	p.BaseP99 = median(column(func(s *slice) float64 { return micros(s.base.quantile(0.99)) }))
	p.CostP99 = median(column(func(s *slice) float64 { return micros(s.own.quantile(0.99)) }))
	p.P99 = spread(
		column(func(s *slice) float64 { return micros(s.own.quantile(0.99)) / micros(s.base.quantile(0.99)) }))
	return p
}
