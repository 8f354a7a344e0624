package backendtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Model performs random operations on a Store and predicts what the Store must return
// afterwards, even after a fault. The zero Model has no tokens. A Model can be encoded as
// JSON.
//
// The outcome of an acknowledged change is known. The outcome of a change that failed with
// [tokenstore.ErrUnavailable] is unknown: the token may be in either state until a result from
// the Store shows which.
type Model struct {
	Tokens []*ModelToken
	// Keys contains the idempotency key of the last creation if its outcome is unknown.
	Keys []string
	// Acknowledged is the number of successful changes.
	Acknowledged int
	// Report, unless it is nil, is called before each change with all states that the token
	// may have afterwards, and again after the change with the remaining possible states. A
	// process that collects the reports with [Model.Learn] can check the Store after this
	// process is killed.
	Report func(*ModelToken) `json:"-"`
}

// ModelToken holds what a Model knows about one token.
type ModelToken struct {
	ID string
	// Secrets are all secrets that the Store has returned for the token, oldest first.
	Secrets []string
	// States are the possible states of the token. There is at least one.
	States []ModelState
	// Counted and MayBeCounted are the minimum and maximum number of requests the Store should
	// have counted. Saved is the value of Counted at the last flush.
	Counted, MayBeCounted, Saved uint64
}

// ModelState is a possible state of a token.
type ModelState struct {
	Deleted, Revoked, Disabled bool
	Scopes                     string
	// Current and Previous are indexes into Secrets, or noSecret.
	Current, Previous int
	// PreviousUntil is when the previous secret expires, in seconds since 1970.
	PreviousUntil int64
}

// noSecret is the index used for a secret that doesn't exist or that the Store never returned.
const noSecret = -1

// ModelPolicy is the policy for tokens that a Model creates.
var ModelPolicy = token.Policy{
	Prefixes: token.Prefixes{token.DefaultPrefix},
	Accounts: []string{"default"},
	Catalog: token.Catalog{Scopes: []token.CatalogScope{
		{Scope: token.Scope{Name: "block:list"}}, {Scope: token.Scope{Name: "block:write"}},
		{Scope: token.Scope{Name: "unikernel:list"}},
	}},
}

// grace is the grace period used for some of the rotations.
const grace = 10 * 365 * 24 * time.Hour

// Learn adds or replaces what the Model knows about a token.
func (m *Model) Learn(t *ModelToken) {
	if i := slices.IndexFunc(m.Tokens, func(known *ModelToken) bool { return known.ID == t.ID }); i >= 0 {
		m.Tokens[i] = t
		return
	}
	m.Tokens = append(m.Tokens, t)
}

// Work performs the given number of random operations and returns any unexpected results.
func (m *Model) Work(s *tokenstore.Store, random *rand.Rand, steps int) (found []Violation) {
	for range steps {
		found = append(found, m.step(s, random)...)
	}
	return found
}

// step performs one random operation.
func (m *Model) step(s *tokenstore.Store, random *rand.Rand) []Violation {
	t := m.pick(random)
	n := random.IntN(100)
	switch {
	case n < 12 || t == nil:
		return m.Create(s, random)
	case n < 20:
		return m.Revoke(s, t)
	case n < 32:
		return m.Toggle(s, t)
	case n < 40:
		return m.Rotate(s, t, []time.Duration{0, grace}[random.IntN(2)])
	case n < 48:
		return m.Edit(s, t, randomScopes(random))
	case n < 53:
		return m.Delete(s, t)
	case n < 58:
		return m.Flush(s)
	}
	return m.Use(s, m.Tokens[random.IntN(len(m.Tokens))], random)
}

// pick returns a random token, or nil if there are none. Usually it picks a token that can
// still be changed.
func (m *Model) pick(random *rand.Rand) (t *ModelToken) {
	for range 8 {
		if len(m.Tokens) == 0 {
			return nil
		}
		t = m.Tokens[random.IntN(len(m.Tokens))]
		if slices.ContainsFunc(t.States, func(s ModelState) bool { return !s.Deleted && !s.Revoked }) {
			break
		}
	}
	return t
}

func randomScopes(random *rand.Rand) token.Grants {
	scopes := ModelPolicy.Catalog.Scopes
	grants := token.Grants{scopes[random.IntN(len(scopes))].Name}
	if random.IntN(2) == 0 {
		grants = append(grants, "block:*")
	}
	slices.Sort(grants)
	return grants
}

// Create creates a token, or repeats a creation whose outcome is unknown.
func (m *Model) Create(s *tokenstore.Store, random *rand.Rand) []Violation {
	scopes := token.Grants{"unikernel:list"}
	draft := token.Draft{
		Kind: token.KindAPI, Name: fmt.Sprint("token ", random.IntN(1000)), Scopes: scopes,
		Metadata: map[string]string{"note": strings.Repeat("x", random.IntN(60))},
		Expiry:   token.Expiry{NeverExpires: true},
	}
	if random.IntN(2) == 0 {
		draft.Expiry = token.Expiry{ExpiresAt: s.Now().AddDate(20, 0, 0)}
	}
	request := tokenstore.Request{Key: fmt.Sprint("key ", random.Uint64())}
	if len(m.Keys) > 0 {
		request.Key = m.Keys[0]
	}
	tok, secret, repeated, err := s.CreateOnce(ModelPolicy, draft, actor, request)
	if err != nil {
		m.Keys = nil
		if errors.Is(err, tokenstore.ErrUnavailable) {
			m.Keys = []string{request.Key}
		}
		return []Violation{refusal("", "create", err)}
	}
	m.Keys = nil
	t := &ModelToken{ID: tok.ID.String(),
		States: []ModelState{{Scopes: strings.Join(scopes, " "), Current: noSecret, Previous: noSecret}}}
	if !repeated {
		t.Secrets, t.States[0].Current = []string{secret.Reveal()}, 0
	}
	m.Acknowledged++
	m.Tokens = append(m.Tokens, t)
	m.report(t)
	return nil
}

// Revoke revokes a token.
func (m *Model) Revoke(s *tokenstore.Store, t *ModelToken) []Violation {
	return m.change(t, "revoke", func(id token.ID) error {
		_, err := s.Revoke(id, token.AnyVersion, actor)
		return err
	}, func(state *ModelState) error {
		state.Revoked = true
		return nil
	})
}

// Toggle enables a disabled token and disables any other token.
func (m *Model) Toggle(s *tokenstore.Store, t *ModelToken) []Violation {
	if t.States[0].Disabled {
		return m.change(t, "enable", func(id token.ID) error {
			_, err := s.Enable(id, token.AnyVersion, actor)
			return err
		}, func(state *ModelState) error {
			state.Disabled = false
			return conflictIf(state.Revoked)
		})
	}
	return m.change(t, "disable", func(id token.ID) error {
		_, err := s.Disable(id, token.AnyVersion, actor)
		return err
	}, func(state *ModelState) error {
		state.Disabled = state.Disabled || !state.Revoked
		return nil
	})
}

// Rotate gives a token a new secret.
func (m *Model) Rotate(s *tokenstore.Store, t *ModelToken, grace time.Duration) []Violation {
	next := noSecret // unless the Store returns the new secret
	until := s.Now().Truncate(time.Second).Add(grace).Unix()
	return m.change(t, "rotate", func(id token.ID) error {
		_, secret, err := s.Rotate(ModelPolicy, id, token.Rotation{Grace: grace}, actor)
		if err == nil {
			next = len(t.Secrets)
			t.Secrets = append(t.Secrets, secret.Reveal())
		}
		return err
	}, func(state *ModelState) error {
		if state.Revoked {
			return token.ErrConflict
		}
		state.Current, state.Previous, state.PreviousUntil = next, state.Current, until
		if grace == 0 {
			state.Previous, state.PreviousUntil = noSecret, 0
		}
		return nil
	})
}

// Edit changes a token's scopes.
func (m *Model) Edit(s *tokenstore.Store, t *ModelToken, scopes token.Grants) []Violation {
	return m.change(t, "edit", func(id token.ID) error {
		_, err := s.Edit(ModelPolicy, id, token.Edit{Scopes: scopes}, actor)
		return err
	}, func(state *ModelState) error {
		state.Scopes = strings.Join(scopes, " ")
		return conflictIf(state.Revoked)
	})
}

// Delete deletes a token.
func (m *Model) Delete(s *tokenstore.Store, t *ModelToken) []Violation {
	return m.change(t, "delete", func(id token.ID) error {
		return s.Delete(id, token.AnyVersion, actor)
	}, func(state *ModelState) error {
		*state = ModelState{Deleted: true, Current: noSecret, Previous: noSecret}
		return nil
	})
}

func conflictIf(yes bool) error {
	if yes {
		return token.ErrConflict
	}
	return nil
}

// change makes a change and updates the possible states of the token. after applies the change
// to a state, or returns the error expected in that state.
func (m *Model) change(t *ModelToken, name string, call func(token.ID) error,
	after func(*ModelState) error) []Violation {
	before := t.States
	t.States = slices.Clone(before)
	for _, state := range before {
		if changed, want := outcome(state, after); want == nil && !slices.Contains(t.States, changed) {
			t.States = append(t.States, changed)
		}
	}
	m.report(t)
	defer m.report(t)
	err := call(t.id())
	var left []ModelState
	for _, state := range before {
		changed, want := outcome(state, after)
		if (want == nil && err == nil || want != nil && errors.Is(err, want)) && !slices.Contains(left, changed) {
			left = append(left, changed)
		}
	}
	switch {
	case len(left) > 0:
		t.States = left
		if err == nil {
			m.Acknowledged++
		}
		return nil
	case !errors.Is(err, tokenstore.ErrUnavailable):
		t.States = before
	}
	if err == nil {
		return []Violation{{DeadAlive, t.ID, name + " was accepted"}}
	}
	violation := refusal(t.ID, name, err)
	if violation.Kind == LiveUnknown && before[0].Revoked {
		violation.Kind = RevokedUnknown
	}
	return []Violation{violation}
}

// outcome returns the state after a change and the expected error.
func outcome(state ModelState, after func(*ModelState) error) (ModelState, error) {
	if state.Deleted {
		return state, tokenstore.ErrNotFound
	}
	changed := state
	if err := after(&changed); err != nil {
		return state, err
	}
	return changed, nil
}

// Use presents one of a token's secrets, usually the newest, and counts a request if the Store
// finds the token active.
func (m *Model) Use(s *tokenstore.Store, t *ModelToken, random *rand.Rand) []Violation {
	if len(t.Secrets) == 0 {
		return nil
	}
	number := len(t.Secrets) - 1
	if random.IntN(4) == 0 {
		number = random.IntN(len(t.Secrets))
	}
	match, found := t.present(s, number)
	if match.Status != token.StatusActive {
		return found
	}
	t.MayBeCounted++
	m.report(t)
	if random.IntN(8) == 0 {
		s.CountDenied(match, tokenstore.Refusal{Time: s.Now(), Method: "POST", Path: "/api/block/create",
			Scope: "block:write", Code: "insufficient_scope", IP: "2001:db8::7", UserAgent: "curl"})
	} else {
		s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: s.Now(), IP: "2001:db8::7", UserAgent: "curl",
			Route: "GET /x"})
	}
	t.Counted++
	m.report(t)
	return found
}

// Flush flushes the Store.
func (m *Model) Flush(s *tokenstore.Store) []Violation {
	if err := s.Flush(); err != nil {
		return []Violation{{Unavailable, "", "flush: " + err.Error()}} // whatever the error is
	}
	m.Flushed()
	return nil
}

// Flushed records that all counts have been saved, as they are after [tokenstore.Store.Close].
func (m *Model) Flushed() {
	for _, t := range m.Tokens {
		if t.Saved != t.Counted {
			t.Saved = t.Counted
			m.report(t)
		}
	}
}

func (m *Model) report(t *ModelToken) {
	if m.Report != nil {
		m.Report(t)
	}
}

func (t *ModelToken) id() token.ID { return token.ID([]byte(t.ID)) }
