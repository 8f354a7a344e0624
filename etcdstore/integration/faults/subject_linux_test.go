package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// A subject is a token that clients change and use.
type subject struct {
	id string
	// counted is set if the token is only used, never changed.
	counted bool

	mu sync.Mutex
	// secrets holds the secrets that clients know, by number.
	secrets map[int]string
	newest  int // number of the newest secret in secrets, or 0
	version uint64
	// operations and unknown count the calls that change or read the token.
	operations, unknown int
	ended               bool
}

// subjects are the tokens of a run.
type subjects struct {
	c *cluster
	// prefix begins the names of the tokens.
	prefix  string
	secrets atomic.Int64
	names   atomic.Int64

	mu  sync.Mutex
	all []*subject
	// live holds the tokens that are changed, until they have ended.
	live []*subject
}

// maxOperations is the number of calls after which a token is replaced, and maxUnknown that of
// calls with an unknown outcome. More would make the check for linearizability slow.
const (
	maxOperations = 120
	maxUnknown    = 6
)

// nextSecret returns the number of a secret that a call creates.
func (s *subjects) nextSecret() int { return int(s.secrets.Add(1)) }

// nextName returns a name that no token has had.
func (s *subjects) nextName() string { return fmt.Sprintf("%sname-%d", s.prefix, s.names.Add(1)) }

// create creates a token through a gate. If the response is lost, it repeats the call at other
// gates, with the same Idempotency-Key. It returns nil if the outcome stays unknown.
func (s *subjects) create(ctx context.Context, number int, clients []*client, counted bool) *subject {
	o := operation{Client: number, Gate: clients[0].gate.number, Action: create, Name: s.nextName(),
		Secret: s.nextSecret(), Call: s.c.history.now()}
	body := map[string]any{"name": o.Name, "scopes": []string{"test:call"}, "expires_in": "300d"}
	for _, cl := range clients {
		header := make(http.Header)
		header.Set("Authorization", "Bearer "+s.c.admin)
		header.Set("Idempotency-Key", o.Name)
		a := send(ctx, cl.http, http.MethodPost, cl.gate.address(adminPort)+"/api/v1/tokens", body, header)
		if a.unknown() {
			continue
		}
		var made struct{ ID, Token string }
		if a.Status != http.StatusCreated && a.Status != http.StatusOK || json.Unmarshal(a.Body, &made) != nil {
			s.c.history.note(fmt.Sprintf("creating a token at %s: %s", cl.gate.name, a))
			s.c.t.Errorf("creating a token at %s: %s", cl.gate.name, a)
			return nil
		}
		o.Gate, o.Token, o.Return, o.Status = cl.gate.number, made.ID, s.c.history.now(), http.StatusCreated
		// The response to a repeated call contains no secret. It shows the token as it is now,
		// which nobody else can have changed.
		if made.Token == "" && a.Header.Get("Idempotency-Replayed") == "" {
			s.c.t.Errorf("creating a token at %s: no secret: %s", cl.gate.name, a)
		}
		o.Got = a.token()
		s.c.history.operated(o)
		added := &subject{id: made.ID, counted: counted, secrets: make(map[int]string), version: 1}
		if made.Token != "" {
			added.secrets[o.Secret], added.newest = made.Token, o.Secret
		}
		s.mu.Lock()
		s.all = append(s.all, added)
		if !counted {
			s.live = append(s.live, added)
		}
		s.mu.Unlock()
		return added
	}
	return nil
}

// at returns the token that was created at the given position.
func (s *subjects) at(position int) *subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[position]
}

// random returns a random token. In four of five cases, it is a token that hasn't ended.
func (s *subjects) random(random *rand.Rand) *subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	if random.IntN(5) > 0 {
		s.live = slices.DeleteFunc(s.live, (*subject).hasEnded)
		if len(s.live) > 0 {
			return s.live[random.IntN(len(s.live))]
		}
	}
	return s.all[random.IntN(len(s.all))]
}

// changing returns the number of tokens that haven't ended and are changed.
func (s *subjects) changing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = slices.DeleteFunc(s.live, (*subject).hasEnded)
	return len(s.live)
}

func (s *subject) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *subject) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// random returns one of the token's secrets and its number. It is most often the newest. The
// number is 0 if no secret is known.
func (s *subject) random(random *rand.Rand) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if random.IntN(5) == 0 {
		for number, secret := range s.secrets { // the order is random
			return number, secret
		}
	}
	return s.newest, s.secrets[s.newest]
}
