package cluster

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// overlay holds the tokens whose newest state is not in the replica's file yet. It is what
// makes a change take effect as soon as this node learns of it, even if the disk is full. The
// zero value is empty.
type overlay struct {
	n      atomic.Int64 // number of tokens, so that readers rarely need the lock
	mu     sync.RWMutex
	tokens map[token.ID]overlaid
	// secrets maps the digests of these tokens' secrets to their IDs.
	secrets map[token.Digest]token.ID
	// trimmed is the revision up to which the file has all changes.
	trimmed int64
}

// overlaid is a token as of a revision.
type overlaid struct {
	revision int64
	// token is nil if the token was deleted.
	token *token.Token
	// err is set if the token's record can't be read. It wraps [token.ErrDamaged].
	err error
}

// set sets a token's state, unless a later one or the file's is at least as new.
func (o *overlay) set(id token.ID, state overlaid) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokens == nil {
		o.tokens = make(map[token.ID]overlaid)
		o.secrets = make(map[token.Digest]token.ID)
	}
	if state.revision <= o.trimmed {
		return
	}
	if before, ok := o.tokens[id]; ok {
		if before.revision > state.revision {
			return
		}
		o.removeSecrets(id, before)
	}
	o.tokens[id] = state
	if state.token != nil {
		for _, d := range state.token.Digests() {
			o.secrets[d] = id
		}
	}
	o.n.Store(int64(len(o.tokens)))
}

// trim removes the states up to a revision, which the replica's file now contains.
func (o *overlay) trim(revision int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if revision <= o.trimmed {
		return
	}
	o.trimmed = revision
	for id, state := range o.tokens {
		if state.revision <= revision {
			o.removeSecrets(id, state)
			delete(o.tokens, id)
		}
	}
	o.n.Store(int64(len(o.tokens)))
}

// restart prepares for revisions that may be lower than before. If replace is set, any state
// replaces those that the overlay has.
func (o *overlay) restart(replace bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trimmed = 0
	if !replace {
		return
	}
	for id, state := range o.tokens {
		state.revision = 0
		o.tokens[id] = state
	}
}

// ids returns the IDs of all tokens in the overlay.
func (o *overlay) ids() []token.ID {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Collect(maps.Keys(o.tokens))
}

func (o *overlay) removeSecrets(id token.ID, state overlaid) {
	if state.token == nil {
		return
	}
	for _, d := range state.token.Digests() {
		if o.secrets[d] == id {
			delete(o.secrets, d)
		}
	}
}

// token returns a token's state and reports whether the overlay has it.
func (o *overlay) token(id token.ID) (tok *token.Token, found bool, err error) {
	if o.n.Load() == 0 {
		return nil, false, nil
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	state, found := o.tokens[id]
	switch {
	case !found:
		return nil, false, nil
	case state.err != nil:
		return nil, true, state.err
	case state.token == nil:
		return nil, true, tokenstore.ErrNotFound
	}
	return state.token, true, nil
}

// idOf returns the ID of the overlay's token that has a secret.
func (o *overlay) idOf(d token.Digest) (id token.ID, found bool) {
	if o.n.Load() == 0 {
		return id, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	id, found = o.secrets[d]
	return id, found
}
