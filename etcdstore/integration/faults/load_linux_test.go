package faults

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// load is a set of clients that change and use tokens.
type load struct {
	c        *cluster
	subjects *subjects
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// loadOptions say how many clients run at each gate.
type loadOptions struct {
	admins, users int
	// tokens is the number of tokens that are changed at the same time, and counted that of
	// tokens that are only used.
	tokens, counted int
	// adminPause and userPause are the average times between a client's calls.
	adminPause, userPause time.Duration
}

// standardLoad leaves enough of two processors to the gates.
var standardLoad = loadOptions{admins: 2, users: 2, tokens: 8, counted: 3, adminPause: 40 * time.Millisecond,
	userPause: 15 * time.Millisecond}

// startLoad starts clients that run until stop is called or the test ends.
func (c *cluster) startLoad(random *rand.Rand, options loadOptions) *load {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &load{c: c, subjects: &subjects{c: c}, cancel: cancel}
	var first []*client
	for _, g := range c.gates {
		first = append(first, c.newClient(g))
	}
	for i := range options.tokens + options.counted {
		if l.subjects.create(ctx, 0, first, i < options.counted) == nil {
			c.t.Fatal("the first tokens couldn't be created")
		}
	}
	number := 0
	for i := range c.gates {
		for range options.admins {
			number++
			own, at := rand.New(rand.NewPCG(random.Uint64(), 0)), number
			l.done.Go(func() { l.administer(ctx, own, at, i, options) })
		}
		for range options.users {
			own := rand.New(rand.NewPCG(random.Uint64(), 0))
			l.done.Go(func() { l.use(ctx, own, i, options) })
		}
	}
	c.t.Cleanup(l.stop)
	return l
}

// stop ends the clients and waits for them.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

// pause waits for a random time around the average.
func pause(ctx context.Context, random *rand.Rand, average time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(random.Int64N(int64(2*average) + 1))):
	}
}

// use uses random tokens at a gate.
func (l *load) use(ctx context.Context, random *rand.Rand, gate int, options loadOptions) {
	cl := l.c.newClient(l.c.gates[gate])
	for ctx.Err() == nil {
		s := l.subjects.random(random)
		if random.IntN(4) == 0 {
			s = l.subjects.at(random.IntN(options.counted)) // the first ones are never replaced
		}
		number, secret := s.random(random)
		if secret != "" {
			// Requests in progress at the end of the run are completed.
			cl.use(context.WithoutCancel(ctx), s.id, number, secret)
		}
		pause(ctx, random, options.userPause)
	}
}

// weights are the relative frequencies of the calls.
var weights = []struct {
	action action
	weight int
}{
	{get, 30}, {edit, 26}, {disable, 8}, {enable, 12}, {rotate, 8}, {lookup, 10}, {revoke, 1}, {remove, 1},
}

func chooseAction(random *rand.Rand) action {
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	n := random.IntN(sum)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			return w.action
		}
	}
	panic("unreachable")
}

// administer changes random tokens through a gate.
func (l *load) administer(ctx context.Context, random *rand.Rand, number, gate int, options loadOptions) {
	cl := l.c.newClient(l.c.gates[gate])
	others := []*client{cl}
	for i := 1; i < len(l.c.gates); i++ {
		others = append(others, l.c.newClient(l.c.gates[(gate+i)%len(l.c.gates)]))
	}
	for ctx.Err() == nil {
		s := l.subjects.random(random)
		for s.counted {
			s = l.subjects.random(random)
		}
		s.mu.Lock()
		used, ended := s.operations >= maxOperations || s.unknown >= maxUnknown, s.ended
		s.operations++
		s.mu.Unlock()
		switch {
		case ended:
			// Calls for ended tokens must fail, also much later. The tokens don't need many.
			if random.IntN(30) == 0 {
				l.operate(ctx, random, cl, number, s, chooseAction(random))
			}
		case used:
			last := revoke
			if random.IntN(2) == 0 {
				last = remove
			}
			l.operate(ctx, random, cl, number, s, last)
			s.end()
		default:
			l.operate(ctx, random, cl, number, s, chooseAction(random))
		}
		if l.subjects.changing() < options.tokens {
			l.subjects.create(context.WithoutCancel(ctx), number, others, false)
		}
		pause(ctx, random, options.adminPause)
	}
}

// operate makes a call and records it.
func (l *load) operate(ctx context.Context, random *rand.Rand, cl *client, number int, s *subject, a action) {
	ctx = context.WithoutCancel(ctx) // calls in progress at the end of the run are completed
	o := operation{Client: number, Gate: cl.gate.number, Action: a, Token: s.id}
	method, path, body := http.MethodPost, "tokens/"+s.id+"/"+string(a), any(nil)
	switch a {
	case get:
		method, path = http.MethodGet, "tokens/"+s.id
	case remove:
		method, path = http.MethodDelete, "tokens/"+s.id
	case edit:
		o.Name = l.subjects.nextName()
		method, path, body = http.MethodPatch, "tokens/"+s.id, map[string]any{"name": o.Name}
	case rotate:
		o.Secret, body = l.subjects.nextSecret(), map[string]any{"grace": 0}
	case lookup:
		var secret string
		if o.Secret, secret = s.random(random); secret == "" {
			return
		}
		path, body = "lookup", map[string]any{"token": secret}
	}
	if a != get && a != lookup && random.IntN(2) == 0 {
		s.mu.Lock()
		o.IfMatch = s.version
		s.mu.Unlock()
	}
	o.Call = l.c.history.now()
	answer := cl.do(ctx, method, path, body, o.IfMatch)
	if answer.notSent() {
		return
	}
	o.Return, o.Status, o.Unknown = l.c.history.now(), answer.Status, answer.unknown()
	if answer.Err != nil {
		o.Error = answer.Err.Error()
	} else {
		o.Age, o.Got, o.Code = answer.Header.Get("Mollygate-Replica-Age"), answer.token(), answer.code()
	}
	l.c.history.operated(o)
	switch {
	case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
		l.c.t.Errorf("%s refused a valid admin token: %s", cl.gate.name, answer)
	case !o.Unknown && answer.Status >= 400 && answer.Status != http.StatusNotFound &&
		answer.Status != http.StatusConflict && answer.Status != http.StatusPreconditionFailed:
		l.c.t.Errorf("%s at %s: unexpected %s", a, cl.gate.name, answer)
	}
	s.learn(o, answer)
}

// learn updates what clients know of the token.
func (s *subject) learn(o operation, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Unknown && o.Action != get && o.Action != lookup {
		s.unknown++
	}
	if o.Got != nil {
		s.version = max(s.version, o.Got.Version)
		s.ended = s.ended || o.Got.Status == "revoked"
	}
	s.ended = s.ended || o.Action == remove && o.Status == http.StatusNoContent
	if o.Action != rotate || o.Got == nil {
		return
	}
	var made struct{ Token string }
	if err := json.Unmarshal(a.Body, &made); err == nil && made.Token != "" {
		s.secrets[o.Secret] = made.Token
		s.newest = max(s.newest, o.Secret)
	}
}
