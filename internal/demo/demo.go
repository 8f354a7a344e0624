// Package demo fills a token store with an invented history, for pictures of the dashboard
// and for trying it out.
package demo

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
	_ "github.com/mollygate/mollygate/mollymawk" // registers the routes
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Accounts are the accounts of the tokens that [Fill] creates.
var Accounts = []string{"default", "alice", "bob"}

const (
	day = 24 * time.Hour
	// length is the length of the history in days. It exceeds the 90 days after which an
	// unused token needs attention.
	length = 120
)

// Key is a token that [Fill] created, with its current secret.
type Key struct {
	Token  *token.Token
	Secret token.Secret
}

// Fill fills the empty backend with about 32 tokens and their use until now, and then closes
// it. The same seed and time create the same history, except for IDs and secrets. Fill
// returns the tokens in the order of their creation. The first one is a valid admin token,
// and the second one a valid API token.
func Fill(backend tokenstore.Backend, now time.Time, seed uint64) ([]Key, error) {
	table, _ := gate.TableByName("mollymawk") // registered by the import above
	now = now.UTC().Truncate(time.Second)
	h := &history{
		random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // not for secrets
		start:  now.Add(-length * day),
		end:    now,
		policy: token.Policy{Prefixes: token.Prefixes{token.DefaultPrefix}, Accounts: Accounts,
			Catalog: gate.Catalog(table)},
		actor:  tokenstore.Actor{Name: "caddy-admin"},
		routes: make(map[string]string),
	}
	for i := range table.Routes {
		h.routes[table.Routes[i].Scope.Name] = table.Routes[i].Name()
	}
	h.set(h.start)
	store, err := tokenstore.Open(backend, tokenstore.Options{
		Clock: h, Elapsed: func() time.Duration { return h.Now().Sub(h.start) }, FlushInterval: -1,
	})
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	h.store = store
	err = h.run()
	return h.keys(), errors.Join(err, store.Close())
}

// history is a history in progress. It is the store's clock.
type history struct {
	store      *tokenstore.Store
	policy     token.Policy
	random     *rand.Rand
	start, end time.Time
	now        atomic.Pointer[time.Time]
	actor      tokenstore.Actor
	routes     map[string]string // by scope
	owners     []*owner
}

// owner uses one token.
type owner struct {
	plan
	key Key
	// credential and old belong to the current secret and to the one before it.
	credential, old token.Credential
}

// Now implements [tokenstore.Clock].
func (h *history) Now() time.Time { return *h.now.Load() }

func (h *history) set(now time.Time) { h.now.Store(&now) }

func (h *history) keys() (keys []Key) {
	for _, o := range h.owners {
		keys = append(keys, o.key)
	}
	return keys
}

// run lets the history pass hour by hour.
func (h *history) run() error {
	plans := slices.SortedStableFunc(slices.Values(plans), func(a, b plan) int { return cmp.Compare(b.made, a.made) })
	changes := slices.SortedFunc(slices.Values(changes), func(a, b change) int { return cmp.Compare(b.ago, a.ago) })
	for hour := h.start; hour.Before(h.end); hour = hour.Add(time.Hour) {
		h.set(hour)
		ago := h.end.Sub(hour).Hours() / 24
		for ; len(plans) > 0 && plans[0].made >= ago; plans = plans[1:] {
			if err := h.create(plans[0]); err != nil {
				return fmt.Errorf("creating %q: %w", plans[0].name, err)
			}
		}
		for ; len(changes) > 0 && changes[0].ago >= ago; changes = changes[1:] {
			if err := h.change(changes[0]); err != nil {
				return fmt.Errorf("changing %q: %w", changes[0].name, err)
			}
		}
		for _, o := range h.owners {
			h.use(o, hour, ago)
		}
		if hour.Hour() == 0 {
			if err := h.store.Flush(); err != nil {
				return err
			}
		}
	}
	h.set(h.end)
	return nil
}

// pause lets some minutes pass between two changes in the same hour.
func (h *history) pause() { h.set(h.Now().Add(time.Duration(60+h.random.IntN(180)) * time.Second)) }

func (h *history) create(p plan) error {
	h.pause()
	lifetime, err := token.ParseLifetime(p.life)
	if err != nil {
		return err
	}
	draft := token.Draft{Kind: token.KindAPI, Name: p.name, Account: p.account, AllowedIPs: p.ips, RateLimit: p.rate,
		Quota: p.quota, Metadata: make(map[string]string), Expiry: token.Expiry{ExpiresIn: lifetime}}
	if draft.Scopes = p.scopes; p.scopes == nil {
		draft.Kind = token.KindAdmin
	}
	if p.startsIn > 0 {
		draft.NotBefore = h.end.Add(time.Duration(p.startsIn) * day)
	}
	for name, value := range map[string]string{"owner": p.owner, "tags": p.tags, "note": p.note} {
		if value != "" {
			draft.Metadata[name] = value
		}
	}
	o := &owner{plan: p}
	if o.key.Token, o.key.Secret, err = h.store.Create(h.policy, draft, h.actor); err != nil {
		return err
	}
	if len(h.owners) == 0 {
		h.actor = tokenstore.Actor{Name: o.key.Token.ID.String(), Address: p.from}
	}
	h.owners = append(h.owners, o)
	return o.read(h.policy)
}

// read sets the credential of the token's current secret.
func (o *owner) read(policy token.Policy) (err error) {
	o.credential, err = policy.Prefixes.Parse(o.key.Secret.Reveal())
	return err
}

// change makes a change to the token with the change's name.
func (h *history) change(c change) (err error) {
	h.pause()
	i := slices.IndexFunc(h.owners, func(o *owner) bool { return o.name == c.name })
	if i < 0 {
		return tokenstore.ErrNotFound
	}
	o := h.owners[i]
	id := o.key.Token.ID
	switch c.kind {
	case rotate:
		o.old = o.credential
		o.key.Token, o.key.Secret, err = h.store.Rotate(h.policy, id, token.Rotation{Grace: 14 * day}, h.actor)
		if err == nil {
			err = o.read(h.policy)
		}
	case edit:
		o.key.Token, err = h.store.Edit(h.policy, id, c.edit, h.actor)
	case disable:
		o.key.Token, err = h.store.Disable(id, token.AnyVersion, h.actor)
	case revoke:
		o.key.Token, err = h.store.Revoke(id, token.AnyVersion, h.actor)
	case remove:
		err = h.store.Delete(id, token.AnyVersion, h.actor)
		h.owners = slices.Delete(h.owners, i, i+1)
	}
	return err
}

// use counts an hour of requests. ago is the hour's distance from the end in days.
func (h *history) use(o *owner, hour time.Time, ago float64) {
	if ago < o.quiet {
		return
	}
	expected := o.perHour * o.rhythm(hour) * (0.7 + 0.6*h.random.Float64())
	looping := ago < o.busy && ago > o.busy-0.25
	if looping {
		expected = o.perHour * 25
	}
	n := int(expected)
	if h.random.Float64() < expected-math.Floor(expected) {
		n++
	}
	match, refused := gate.Present(h.store, o.credential, o.key.Token.Kind, hour)
	if refused.Code != "" {
		n = (n + 9) / 10 // most clients give up
	}
	for i := range n {
		part := (float64(i) + h.random.Float64()) / float64(n)
		call := tokenstore.Refusal{Time: hour.Add(time.Duration(part * float64(time.Hour))),
			Code: string(refused.Code), IP: o.from, UserAgent: o.agent}
		if looping && i%4 > 0 {
			call.Code = string(gate.RateLimited)
		}
		h.call(o, match, call)
	}
}

// call counts one request. The call's time, address, agent and refusal code, if any, are set.
func (h *history) call(o *owner, match tokenstore.Match, call tokenstore.Refusal) {
	route := "GET /api/v1/tokens" // of the admin API
	if o.key.Token.Kind == token.KindAPI {
		call.Scope = o.scope(h.random)
		route = h.routes[call.Scope]
	}
	if o.old != (token.Credential{}) && h.random.IntN(5) == 0 {
		before, refused := gate.Present(h.store, o.old, o.key.Token.Kind, h.Now())
		if refused.Code == "" {
			match, call.IP = before, oldRunner
		}
	}
	if w := o.wrong; call.Code == "" && h.random.Float64() < w.share {
		call.Code, call.IP = string(w.code), cmp.Or(w.from, call.IP)
		if w.scope != "" {
			call.Scope, route = w.scope, h.routes[w.scope]
		} else if w.route != "" {
			call.Scope, route = "", w.route
		}
	}
	if call.Code == "" {
		h.store.CountAllowed(match, call.Scope, tokenstore.LastUse{Time: call.Time, IP: call.IP,
			UserAgent: call.UserAgent, Route: route})
		return
	}
	call.Method, call.Path, _ = strings.Cut(route, " ")
	h.store.CountDenied(match, call)
}

// scope returns the scope of a request: the first one most often.
func (p *plan) scope(random *rand.Rand) string {
	for _, scope := range p.uses {
		if random.IntN(5) < 3 {
			return scope
		}
	}
	return p.uses[0]
}
