package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Node is a gate that shares the token store with others.
type Node struct {
	ID string `json:"id"`
	// Name is the machine's host name.
	Name string `json:"name"`
	// Version is Mollygate's version, or empty if it isn't known.
	Version string `json:"version"`
	// Self is set for the gate that responded.
	Self bool `json:"self"`
	// Live is set while the gate is connected to the shared store.
	Live      bool      `json:"live"`
	StartedAt time.Time `json:"started_at"`
	// LastSeenAt is when the gate last reported, or zero if the responding gate has never heard
	// of it.
	LastSeenAt time.Time `json:"last_seen_at"`
	// AsOf is the time as of which the gate's copy is complete, or zero if it isn't known.
	AsOf time.Time `json:"as_of"`
	// AgeSeconds is the time since AsOf in whole seconds, or nil if AsOf is zero.
	AgeSeconds *int64 `json:"age_seconds"`

	raw json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps a copy of the JSON text for [Node.JSON].
func (n *Node) UnmarshalJSON(text []byte) error {
	type plain Node
	var read plain
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*n = Node(read)
	n.raw = append(json.RawMessage(nil), text...)
	return nil
}

// JSON returns the object as the server sent it.
func (n Node) JSON() json.RawMessage { return n.raw }

// Nodes returns the gates that share the server's token store, or none if it isn't shared.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list struct {
		Nodes []Node `json:"nodes"`
	}
	err := c.value(ctx, call{method: http.MethodGet, path: "/nodes"}, &list)
	return list.Nodes, err
}

// Confirmation is the result of [Client.Confirm].
type Confirmation struct {
	// Gates is the number of live gates and of those that are missing, or 0 if the token store
	// isn't shared.
	Gates int `json:"gates"`
	// Missing are the gates among them that haven't confirmed the changes.
	Missing []Node `json:"missing"`
}

// Confirm waits up to 10 seconds until all gates that share the server's token store have all
// changes that were acknowledged before the call.
func (c *Client) Confirm(ctx context.Context) (confirmation Confirmation, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/confirm"}, &confirmation)
	return confirmation, err
}

// AcceptShared makes all gates follow a shared token store that has lost changes which they know.
// Only Caddy's admin endpoint accepts it.
func (c *Client) AcceptShared(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/shared/accept"})
}

// NodeUsage is a token's usage at one gate.
type NodeUsage struct {
	ID string `json:"id"`
	// Name is empty for a gate that is no longer known.
	Name        string    `json:"name"`
	UsageCount  uint64    `json:"usage_count"`
	DeniedCount uint64    `json:"denied_count"`
	LastUsedAt  time.Time `json:"last_used_at"`
}

// UsageByNode returns a token's total usage at each gate that has counted any, or none if the
// token store isn't shared. Like [Client.Get], it checks the ID first.
func (c *Client) UsageByNode(ctx context.Context, id string) ([]NodeUsage, error) {
	path, err := tokenPath(id)
	if err != nil {
		return nil, err
	}
	var series struct {
		ByNode []NodeUsage `json:"by_node"`
	}
	// The history itself isn't needed, so the query covers as little of it as possible.
	query := url.Values{"from": {time.Now().UTC().Format(time.RFC3339)}}
	err = c.value(ctx, call{method: http.MethodGet, path: path + "/usage", query: query}, &series)
	return series.ByNode, err
}
