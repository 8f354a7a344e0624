package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	// syncWait is how long a call waits for other gates' changes.
	syncWait = time.Second
	// replicaAgeHeader is the response header with the age of an old copy of a shared store, in
	// whole seconds.
	replicaAgeHeader = "Mollygate-Replica-Age"
	// maxReplicaAge is the age from which a copy of a shared store needs attention.
	maxReplicaAge = 5 * time.Second
)

// sync waits until the call can read all changes that other gates made before it. If that takes
// too long, the call reads this gate's copy, and the response has the copy's age. A gate that
// has never read the shared store has nothing to respond with.
func (c *call) sync(store *tokenstore.Store) *Refusal {
	if c.local {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), syncWait)
	defer cancel()
	err := store.Sync(ctx)
	if err == nil {
		return nil
	}
	asOf := store.Contact().AsOf
	if asOf.IsZero() {
		return c.storeRefusal(err)
	}
	c.w.Header().Set(replicaAgeHeader, strconv.FormatInt(ageSeconds(store.Now().Sub(asOf)), 10))
	return nil
}

// ageSeconds returns an age in whole seconds. The clocks of two machines may differ, so an age
// may be negative, which counts as 0.
func ageSeconds(age time.Duration) int64 { return int64(max(0, age) / time.Second) }

// nodeList is the response to GET /nodes.
type nodeList struct {
	Nodes []node `json:"nodes"`
}

// node is a gate that shares the store.
type node struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Version textOrNull `json:"version"`
	// Self is set for the gate that responds.
	Self       bool       `json:"self"`
	Live       bool       `json:"live"`
	StartedAt  timeOrNull `json:"started_at"`
	LastSeenAt timeOrNull `json:"last_seen_at"`
	AsOf       timeOrNull `json:"as_of"`
	// AgeSeconds is the age of the gate's copy, or null if AsOf is.
	AgeSeconds *int64 `json:"age_seconds"`
}

// listNodes responds with the gates that share the store. If it isn't shared, there are none.
func (c *call) listNodes() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if err := store.Ping(); err != nil {
		return c.storeRefusal(err)
	}
	response := nodeList{Nodes: []node{}}
	now := store.Now()
	for _, n := range store.Nodes() {
		response.Nodes = append(response.Nodes, nodeObject(n, now))
	}
	return c.respond(http.StatusOK, response)
}

func nodeObject(n tokenstore.Node, now time.Time) node {
	object := node{ID: n.ID, Name: n.Name, Version: textOrNull(n.Version), Self: n.Self, Live: n.Live,
		StartedAt: timeOrNull(n.Started), LastSeenAt: timeOrNull(n.LastSeen), AsOf: timeOrNull(n.AsOf)}
	if !n.AsOf.IsZero() {
		age := ageSeconds(now.Sub(n.AsOf))
		object.AgeSeconds = &age
	}
	return object
}

// nodeUsage is a token's usage at one gate.
type nodeUsage struct {
	ID string `json:"id"`
	// Name is null for a gate that is no longer known.
	Name        textOrNull `json:"name"`
	UsageCount  uint64     `json:"usage_count"`
	DeniedCount uint64     `json:"denied_count"`
	LastUsedAt  timeOrNull `json:"last_used_at"`
}

// usageByNode returns the token's usage at each gate that has counted any, sorted like the gates.
// It returns nil if the store isn't shared.
func (c *call) usageByNode(store *tokenstore.Store) ([]nodeUsage, error) {
	used, err := store.UsageByNode(c.id)
	if err != nil || !store.Shared() {
		return nil, err
	}
	names := make(map[string]string)
	for _, n := range store.Nodes() {
		names[n.ID] = n.Name
	}
	nodes := []nodeUsage{}
	for id, u := range used {
		nodes = append(nodes, nodeUsage{id, textOrNull(names[id]), u.Allowed, u.Denied, timeOrNull(u.Last.Time)})
	}
	slices.SortFunc(nodes, func(a, b nodeUsage) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return nodes, nil
}
