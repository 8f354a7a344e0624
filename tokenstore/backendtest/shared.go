package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Shared makes a backend look shared. It has no network and no other nodes: a test sets what
// this node knows about them. It is safe for concurrent use.
type Shared struct {
	tokenstore.Backend
	// Now returns the time at which the copy's age is measured.
	Now func() time.Time
	// CheckBackup returns what the backup at a path contains, for Restore.
	CheckBackup func(path string) (tokenstore.Restored, error)

	values tokenstore.MemoryValues

	mu    sync.Mutex
	state SharedState
	syncs int
}

// SharedState is what this node knows about the shared store and the other nodes.
type SharedState struct {
	Nodes []tokenstore.Node
	// AsOf is when the copy was last complete.
	AsOf time.Time
	// Problem is why contact is lost. While it is set, the copy is as of AsOf and nothing can be
	// changed, except by Accept. Otherwise, the copy is always complete.
	Problem error
	// MaxStaleness is the age at which the copy becomes stale. 0 means never.
	MaxStaleness time.Duration
	// Unconfirmed are the IDs of the nodes that don't confirm changes.
	Unconfirmed []string
	// OnSync, if it is set, is called by Sync. It can set what other gates have changed.
	OnSync func()
	// Used maps tokens to their usage by node, without this node's.
	Used map[token.ID]map[string]tokenstore.Usage
}

// Set changes the state.
func (s *Shared) Set(change func(*SharedState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// Syncs returns how often Sync was called.
func (s *Shared) Syncs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncs
}

func (s *Shared) now() SharedState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Apply implements tokenstore.Backend.
func (s *Shared) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	if err := s.unavailable(); err != nil {
		return nil, err
	}
	return s.Backend.Apply(id, now, change)
}

// unavailable returns why nothing can be changed, or nil if it can.
func (s *Shared) unavailable() error {
	if problem := s.now().Problem; problem != nil {
		return fmt.Errorf("%w: %w: %w", tokenstore.ErrUnavailable, tokenstore.ErrBehind, problem)
	}
	return nil
}

// Follow implements tokenstore.Shared.
func (*Shared) Follow(tokenstore.Follower) {}

// Stale implements tokenstore.Shared.
func (s *Shared) Stale() error {
	state := s.now()
	if state.Problem != nil && state.MaxStaleness > 0 && s.Now().Sub(state.AsOf) >= state.MaxStaleness {
		return tokenstore.ErrStale
	}
	return nil
}

// Contact implements tokenstore.Shared.
func (s *Shared) Contact() tokenstore.Contact {
	state := s.now()
	contact := tokenstore.Contact{AsOf: state.AsOf, Problem: state.Problem}
	if state.MaxStaleness > 0 && !state.AsOf.IsZero() {
		contact.Until = state.AsOf.Add(state.MaxStaleness)
	}
	return contact
}

// Values implements tokenstore.Shared.
func (s *Shared) Values() tokenstore.Values { return &s.values }

// Restore implements tokenstore.Shared. It checks the backup and adds the entry, but restores
// nothing.
func (s *Shared) Restore(_ context.Context, path string, entry tokenstore.AuditEntry) (tokenstore.Restored, error) {
	if s.CheckBackup == nil {
		return tokenstore.Restored{}, errors.ErrUnsupported
	}
	restored, err := s.CheckBackup(path)
	if err == nil {
		err = s.unavailable()
	}
	if err == nil {
		err = s.SetTimes(tokenstore.State{}, &entry)
	}
	return restored, err
}

// Accept implements tokenstore.Shared. The error is tokenstore.ErrEmpty if the Problem is.
func (s *Shared) Accept(_ context.Context, entry tokenstore.AuditEntry) error {
	if errors.Is(s.now().Problem, tokenstore.ErrEmpty) {
		return s.unavailable()
	}
	s.Set(func(state *SharedState) { state.Problem = nil })
	return s.SetTimes(tokenstore.State{}, &entry)
}

// Confirm implements tokenstore.Shared. The nodes in SharedState.Unconfirmed don't confirm
// changes.
func (s *Shared) Confirm(context.Context) (missing []tokenstore.Node, err error) {
	if err := s.unavailable(); err != nil {
		return nil, err
	}
	for _, node := range s.Nodes() {
		if slices.Contains(s.now().Unconfirmed, node.ID) {
			missing = append(missing, node)
		}
	}
	return missing, nil
}

// Sync implements tokenstore.Shared.
func (s *Shared) Sync(context.Context) error {
	s.mu.Lock()
	s.syncs++
	state := s.state
	s.mu.Unlock()
	if state.Problem != nil {
		return fmt.Errorf("%w: %w", tokenstore.ErrBehind, state.Problem)
	}
	if state.OnSync != nil {
		state.OnSync()
	}
	return nil
}

// Elsewhere implements tokenstore.Shared.
func (s *Shared) Elsewhere(id token.ID, first, last tokenstore.Day) (sum tokenstore.Usage, err error) {
	byNode, err := s.ElsewhereByNode(id, first, last)
	for _, used := range byNode {
		sum = sum.Plus(used)
	}
	return sum, err
}

// ElsewhereByNode implements tokenstore.Shared.
func (s *Shared) ElsewhereByNode(id token.ID, first, last tokenstore.Day) (map[string]tokenstore.Usage, error) {
	byNode := make(map[string]tokenstore.Usage)
	for node, used := range s.now().Used[id] {
		used.Days = slices.DeleteFunc(slices.Clone(used.Days), func(d tokenstore.DayUsage) bool {
			return d.Day < first || d.Day > last
		})
		byNode[node] = used
	}
	return byNode, nil
}

// Nodes implements tokenstore.Shared.
func (s *Shared) Nodes() []tokenstore.Node {
	state := s.now()
	nodes := slices.Clone(state.Nodes)
	for i := range nodes {
		if nodes[i].Self {
			nodes[i].AsOf = state.AsOf
		}
	}
	return nodes
}

// Allot implements tokenstore.Shared. No other node uses quotas.
func (*Shared) Allot(_ token.ID, _, _ tokenstore.Day, limit, own int64, more bool) (int64, error) {
	if more {
		return max(own, limit), nil
	}
	return own, nil
}

// NodeID implements tokenstore.Shared.
func (s *Shared) NodeID() string {
	for _, node := range s.Nodes() {
		if node.Self {
			return node.ID
		}
	}
	return ""
}

// Announce implements tokenstore.Shared.
func (s *Shared) Announce(_, to time.Time) (bool, error) {
	return true, s.SetTimes(tokenstore.State{Announced: to}, nil)
}

var _ tokenstore.Shared = (*Shared)(nil)
