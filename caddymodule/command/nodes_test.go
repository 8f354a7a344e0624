package command

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// sharedServer is a golden server of one of several gates.
type sharedServer struct {
	*goldenServer
	shared *backendtest.Shared
}

// newSharedServer returns a server with a key that two gates have used. A third gate is gone.
func newSharedServer(t *testing.T) *sharedServer {
	t.Helper()
	start := time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC)
	s := &sharedServer{new(goldenServer), new(backendtest.Shared)}
	s.commandServer = newCommandServerOver(t, start, func(b tokenstore.Backend) tokenstore.Backend {
		s.shared.Backend = b
		return s.shared
	})
	s.shared.Now = s.store.Now
	s.shared.Set(func(state *backendtest.SharedState) {
		state.AsOf = start.Add(-2 * time.Second)
		state.Nodes = []tokenstore.Node{
			{ID: "5Kq2mXw9Rb", Name: "gate-1.example.com", Version: "v1.4.0", Self: true, Live: true,
				Started: start.Add(-72 * time.Hour), LastSeen: start, AsOf: start.Add(-2 * time.Second)},
			{ID: "9cTe7GhBvD", Name: "gate-2.example.com", Version: "v1.4.0", Live: true,
				Started: start.Add(-71 * time.Hour), LastSeen: start.Add(-3 * time.Second),
				AsOf: start.Add(-4 * time.Second)},
			{ID: "a0LfSi1S3o", Name: "gate-3.example.com", Version: "v1.3.2",
				Started: start.Add(-900 * time.Hour), LastSeen: start.Add(-49 * time.Hour),
				AsOf: start.Add(-49 * time.Hour)},
			{ID: "zYpQ1uJm5K", Name: "gate-4"},
		}
	})
	id, secret := s.create(t, "--name", "release bot")
	s.ids = []string{id}
	match, err := s.match(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	for range 12 {
		s.store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: start.Add(-time.Minute),
			IP: "203.0.113.7", UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
	}
	parsed, err := token.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	s.shared.Set(func(state *backendtest.SharedState) {
		state.Used = map[token.ID]map[string]tokenstore.Usage{parsed: {
			"9cTe7GhBvD": {Allowed: 8000, Denied: 3, Last: tokenstore.LastUse{Time: start.Add(-3 * time.Hour)}},
		}}
	})
	return s
}

// loseContact makes the server lose contact with the shared store.
func (s *sharedServer) loseContact() {
	s.shared.Set(func(state *backendtest.SharedState) {
		state.Problem = errors.New("no response from kv-1.example.com:2379: connection refused")
		state.MaxStaleness = time.Hour
		state.Nodes[0].Live = false
	})
	s.pass(90 * time.Second)
}

// TestSharedTables is like TestTables for what commands print only if several gates share the key
// store.
func TestSharedTables(t *testing.T) {
	t.Parallel()
	s := newSharedServer(t)
	check := func(name string, args ...string) {
		t.Helper()
		var texts []string
		for _, width := range widths {
			text := s.print(screen{width: width}, args...)
			checkWidth(t, name, text, width)
			texts = append(texts, text)
		}
		compare(t, name, onScreens(texts))
	}
	check("nodes", "nodes")
	check("status-shared", "status")
	check("show-shared", "show", s.ids[0])
	compare(t, "nodes-csv", s.print(screen{}, "nodes", "-o", "csv"))
	compare(t, "nodes-color", s.print(screen{width: 80, color: true}, "nodes"))
	s.loseContact()
	check("nodes-behind", "nodes")
	check("status-behind", "status")
}

// TestCommandNodes checks nodes with JSON and IDs, and without a shared store.
func TestCommandNodes(t *testing.T) {
	t.Parallel()
	s := newSharedServer(t)
	var nodes []struct {
		Name       string
		Self, Live bool
		Age        *int64 `json:"age_seconds"`
	}
	got := s.run("nodes", "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &nodes); err != nil || len(nodes) != 4 || !nodes[0].Self ||
		nodes[0].Age == nil || *nodes[0].Age != 2 || nodes[3].Age != nil || nodes[2].Live {
		t.Errorf("got %+v, error %v", got, err)
	}
	got = s.run("nodes", "-o", "id")
	if !slices.Equal(strings.Fields(got.out), []string{"5Kq2mXw9Rb", "9cTe7GhBvD", "a0LfSi1S3o", "zYpQ1uJm5K"}) {
		t.Errorf("got %+v", got)
	}
	got = s.run("status", "-o", "json")
	var object struct {
		Checks map[string]struct {
			Age int `json:"age_seconds"`
		}
		Nodes struct{ Live, Gone int }
	}
	if err := json.Unmarshal([]byte(got.out), &object); err != nil || object.Checks["replica"].Age != 2 ||
		object.Nodes.Live != 2 || object.Nodes.Gone != 2 {
		t.Errorf("got %+v, error %v", got, err)
	}
	if got := s.run("nodes", "gate-1"); got.code != exitUsage {
		t.Errorf("with an argument: got %+v", got)
	}

	single := newCommandServer(t)
	if got := single.run("nodes"); got.code != exitOK || got.out != "" ||
		got.err != "This gate doesn't share its key store.\n" {
		t.Errorf("got %+v", got)
	}
	if got := single.run("status", "-o", "json"); strings.Contains(got.out, "replica") ||
		strings.Contains(got.out, "nodes") {
		t.Errorf("got %+v", got)
	}
}
