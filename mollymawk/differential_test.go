package mollymawk_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/token"
)

var (
	comparisons    = flag.Int("comparisons", 5000, "number of requests that TestTargetsMatch compares")
	comparisonSeed = flag.Uint64("comparison-seed", 1, "seed of the requests that TestTargetsMatch compares")
)

// TestTargetsMatch sends random requests through the gate to a stand-in for Mollymawk and
// compares what the gate believes that they act on with what the stand-in acts on. The stand-in
// reads requests with its own parsers. With the flag -v, it prints how many requests of each
// route were refused, forwarded and acted on.
func TestTargetsMatch(t *testing.T) {
	t.Parallel()
	for name, generation := range map[string]mollymawktest.Generation{"mollymawk": mollymawktest.Current,
		"mollymawk-2025": mollymawktest.Generation2025} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newComparison(t, name, generation)
			for i := range *comparisons / 2 {
				c.compare(newRandom(*comparisonSeed, uint64(2*i)+uint64(generation)))
			}
			c.report(*comparisons / 2)
		})
	}
}

// comparison compares requests to a backend of one generation.
type comparison struct {
	t       *testing.T
	table   gate.Table
	gate    *gate.Gate
	backend *mollymawktest.Server
	client  http.Client
	token   string
	// outcomes counts requests by route and outcome.
	outcomes map[string]map[outcome]int

	mu     sync.Mutex
	acted  []mollymawktest.Action
	cancel context.CancelFunc // ends the current request if it is an event stream
}

type outcome string

const (
	refused   outcome = "refused for all keys"
	unclear   outcome = "refused for bound keys"
	forwarded outcome = "forwarded"
	actedOn   outcome = "acted on"
)

func newComparison(t *testing.T, name string, generation mollymawktest.Generation) *comparison {
	c := &comparison{t: t, outcomes: make(map[string]map[outcome]int)}
	c.table, _ = gate.TableByName(name)
	var err error
	c.gate, err = gate.New(gate.Config{Table: c.table, Prefixes: token.Prefixes{"mm"}, MaxBody: 1 << 20,
		MaxUpload: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	c.backend = mollymawktest.New(t, mollymawktest.Options{Generation: generation, Instances: instances, RawLimit: -1,
		Jobs: []string{"hello", "shop"}, Acted: c.record})
	c.backend.SetFaults(mollymawktest.Faults{ShortDownload: 1})
	c.token = c.backend.AddToken("alice", "gate", 24*time.Hour)
	for _, instance := range instances {
		for _, name := range names[:4] {
			c.backend.AddUnikernel("alice", instance, name)
			c.backend.AddBlock("alice", instance, name, 1, nil)
		}
	}
	c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// record is called by the stand-in.
func (c *comparison) record(action mollymawktest.Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acted = append(c.acted, action)
	if strings.HasSuffix(action.Path, "/console") {
		c.cancel()
	}
}

// compare sends one request.
func (c *comparison) compare(r random) {
	var q request
	var route *gate.Route
	for route == nil {
		q = r.request()
		route = c.route(q)
	}
	f, result := c.adapt(route, q)
	if result == forwarded {
		acted := c.send(f)
		if len(acted) > 0 {
			result = actedOn
			if saw := sorted(f.targets); !slices.Equal(saw, acted) {
				c.t.Errorf("%s %s?%s %q %q: forwarded ?%s %q: the gate saw %q, the backend acted on %q",
					q.method, q.path, q.query, q.contentType, q.body, f.query, f.body, saw, acted)
			}
		}
	}
	if c.outcomes[route.Name()] == nil {
		c.outcomes[route.Name()] = make(map[outcome]int)
	}
	c.outcomes[route.Name()][result]++
}

func (c *comparison) route(q request) *gate.Route {
	for i := range c.table.Routes {
		r := &c.table.Routes[i]
		if r.Method == q.method && (r.Path == q.path || slices.Contains(r.Aliases, q.path)) {
			return r
		}
	}
	return nil
}

// forward is a request to the backend.
type forward struct {
	route       *gate.Route
	query       string
	contentType []string
	body        []byte
	targets     []token.Resource
}

// adapt does what the gate does with a request of a bound key.
func (c *comparison) adapt(route *gate.Route, q request) (forward, outcome) {
	f := forward{route: route}
	if route.Upload {
		u := gate.Upload{ContentType: q.contentType, Body: bytes.NewReader(q.body)}
		if q.spool {
			u.Spool = bytes.NewReader(q.body)
		}
		if err := c.gate.AdaptUpload(route, &u); err != nil {
			return f, c.refusal(q, err, refused)
		}
		if u.TargetsErr != nil {
			return f, c.refusal(q, u.TargetsErr, unclear)
		}
		body, err := io.ReadAll(u.Body)
		if err != nil {
			return f, c.refusal(q, err, refused)
		}
		f.query, f.contentType, f.body, f.targets = q.query, u.ContentType, body, u.Targets
		return f, forwarded
	}
	call := gate.Call{Query: q.query, ContentType: q.contentType, Body: q.body}
	if err := c.gate.Adapt(route, &call); err != nil {
		return f, c.refusal(q, err, refused)
	}
	targets, err := route.Targets(&call)
	if err != nil {
		return f, c.refusal(q, err, unclear)
	}
	if call.Probe != nil && c.probe(call.Probe) {
		return f, refused
	}
	f.query, f.contentType, f.body, f.targets = call.Query, call.ContentType, call.Body, targets
	return f, forwarded
}

// refusal checks that an error explains a refusal to the client.
func (c *comparison) refusal(q request, err error, o outcome) outcome {
	if _, ok := errors.AsType[*gate.BodyError](err); !ok {
		c.t.Errorf("%s %q: got error %v, want a *gate.BodyError", q.path, q.body, err)
	}
	return o
}

// probe reports whether a probe forbids its call.
func (c *comparison) probe(p *gate.Probe) bool {
	status, body := c.do("GET", p.Path, p.Query, nil, nil, false)
	refusal, _ := p.Judge(status, body)
	return refusal.Code != ""
}

// send sends a request to the backend. It returns what the backend acted on.
func (c *comparison) send(f forward) []string {
	c.mu.Lock()
	c.acted = nil
	c.mu.Unlock()
	c.do(f.route.Method, f.route.Path, f.query, f.contentType, f.body, f.route.Upload)
	c.mu.Lock()
	defer c.mu.Unlock()
	var resources []token.Resource
	for _, action := range c.acted {
		resources = append(resources, token.Resource{Type: "instance", Name: action.Instance})
		if action.Unikernel != "" {
			resources = append(resources, token.Resource{Type: "unikernel", Name: action.Unikernel})
		}
		for _, block := range append(action.Attached, action.Block) {
			if block != "" {
				resources = append(resources, token.Resource{Type: "block", Name: block})
			}
		}
	}
	return sorted(resources)
}

// do makes a request and returns the response. It returns no response if the stand-in has begun
// an event stream.
func (c *comparison) do(method, path, query string, contentType []string, body []byte, chunked bool) (int, []byte) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	location := url.URL{Scheme: "http", Host: c.backend.Addr(), Path: path, RawQuery: query}
	request := (&http.Request{Method: method, URL: &location, Header: http.Header{
		"Authorization": {"Bearer " + c.token}}}).WithContext(ctx)
	if len(contentType) > 0 {
		request.Header["Content-Type"] = contentType
	}
	if len(body) > 0 {
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	if chunked {
		request.ContentLength = -1
	}
	request.Close = strings.HasSuffix(path, "/download")
	response, err := c.client.Do(request)
	switch {
	case errors.Is(err, context.Canceled):
		return 0, nil // an event stream
	case err != nil:
		c.t.Errorf("%s?%s %q: %v", path, query, body, err)
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, context.Canceled) {
		c.t.Errorf("%s?%s %q: reading the response: %v", path, query, body, err)
	}
	return response.StatusCode, text
}

// sorted returns the resources as "type/name", without duplicates.
func sorted(resources []token.Resource) []string {
	set := make(map[string]bool)
	for _, r := range resources {
		set[r.String()] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// report logs the outcomes. It fails the test if too few requests were acted on to prove
// anything, or if one crashed the backend.
func (c *comparison) report(requests int) {
	total := make(map[outcome]int)
	all := []outcome{refused, unclear, forwarded, actedOn}
	for _, name := range slices.Sorted(maps.Keys(c.outcomes)) {
		line := fmt.Sprintf("%-36s", name)
		count := 0
		for _, o := range all {
			n := c.outcomes[name][o]
			total[o] += n
			count += n
			line += fmt.Sprintf("  %s %6d", o, n)
		}
		c.t.Log(line)
		if count > 100 && c.outcomes[name][actedOn] < count/5 {
			c.t.Errorf("%s: only %d of %d requests were acted on", name, c.outcomes[name][actedOn], count)
		}
	}
	c.t.Logf("%d requests: %v", requests, total)
	if total[actedOn] < requests*3/10 {
		c.t.Errorf("only %d of %d requests were acted on", total[actedOn], requests)
	}
	if c.backend.Crashes() > 0 || c.backend.AlbatrossCrashes() > 0 {
		c.t.Errorf("Mollymawk crashed %d times and albatross %d times", c.backend.Crashes(),
			c.backend.AlbatrossCrashes())
	}
}
