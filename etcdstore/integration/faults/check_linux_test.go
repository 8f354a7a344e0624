package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// linearTimeout is how long the check for linearizability may take.
const linearTimeout = 2 * time.Minute

// check checks a history that has ended. bound is how old a state may be that a gate sees.
func (c *cluster) check(bound time.Duration) {
	c.t.Helper()
	h := c.history
	c.t.Log(h.describe())
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, p := range checkLinear(h.Operations, linearTimeout) {
		c.t.Error(p)
		if file, err := c.visualize(p); err != nil {
			c.t.Error(err)
		} else {
			c.t.Logf("open %s in a browser", file)
		}
		if i == 4 {
			break
		}
	}
	problems := checkVerdicts(h, bound)
	for i, p := range problems {
		c.t.Error(p)
		if i == 19 {
			c.t.Errorf("and %d more", len(problems)-i-1)
			break
		}
	}
}

// visualize writes a history that isn't linearizable to a file for a browser.
func (c *cluster) visualize(p linearProblem) (string, error) {
	dir := *clusterKeep
	if dir == "" {
		dir = os.TempDir()
	}
	file, err := os.CreateTemp(dir, "mollygate-"+filepath.Base(c.t.Name())+"-"+p.Token+"-*.html")
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	return file.Name(), visualize(p, file)
}

// checkUsage waits until each gate reports the same counts as the clients, and reports the
// difference if that doesn't happen in time.
func (c *cluster) checkUsage(l *load, patience time.Duration) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	c.history.mu.Lock()
	sightings := c.history.Sightings
	c.history.mu.Unlock()
	for _, g := range c.gates {
		for {
			reported, err := l.usage(c.t.Context(), g)
			if err != nil {
				c.t.Error(err)
				break
			}
			problems := checkUsage(sightings, reported)
			if len(problems) == 0 {
				c.t.Logf("%s: the counts of %d tokens are right", g.name, len(reported))
				break
			}
			if time.Now().After(deadline) {
				c.t.Errorf("%s reports wrong counts of %d tokens", g.name, len(problems))
				for _, p := range problems[:min(len(problems), 10)] {
					c.t.Errorf("%s\n%s", p, c.usageDetails(sightings, p.token))
				}
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// usageDetails describes what each gate has counted of a token's requests, what its backend has
// received and what its clients know.
func (c *cluster) usageDetails(sightings []sighting, token string) string {
	var text strings.Builder
	for _, g := range c.gates {
		elsewhere := func(s sighting) bool { return s.Gate != g.number }
		known := countUses(slices.DeleteFunc(slices.Clone(sightings), elsewhere))
		g.backend.mu.Lock()
		received := g.backend.counts[token]
		g.backend.mu.Unlock()
		cl := c.newClient(g)
		a := cl.do(c.t.Context(), "GET", "tokens/"+token+"/usage", nil, 0)
		fmt.Fprintf(&text, "%s: clients know %+v, its backend received %d, it reports %s\n", g.name, known[token],
			received, a)
		if g.number == 0 {
			fmt.Fprintf(&text, "%s\n", cl.do(c.t.Context(), "GET", "nodes", nil, 0))
		}
	}
	return text.String()
}

// usage returns the counts that a gate reports of all tokens that haven't been deleted.
func (l *load) usage(ctx context.Context, g *gate) (map[string]uint64, error) {
	reported := make(map[string]uint64)
	cl := l.c.newClient(g)
	l.subjects.mu.Lock()
	all := l.subjects.all
	l.subjects.mu.Unlock()
	for _, s := range all {
		a := cl.do(ctx, "GET", "tokens/"+s.id, nil, 0)
		if a.Status == 404 {
			continue
		}
		if a.Status != 200 {
			return nil, fmt.Errorf("reading token %s at %s: %s", s.id, g.name, a)
		}
		count, err := usageCount(a)
		if err != nil {
			return nil, err
		}
		reported[s.id] = count
	}
	return reported, nil
}
