package tokenstore

import (
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// EventKind is what has happened to a token.
type EventKind string

// The kinds of events.
const (
	EventCreated  EventKind = "created" // also by an import
	EventRotated  EventKind = "rotated"
	EventDisabled EventKind = "disabled"
	EventEnabled  EventKind = "enabled"
	EventRevoked  EventKind = "revoked"
	EventDeleted  EventKind = "deleted"
	// EventExpiring comes 30 days, 7 days and a day before the token ends, unless that
	// is more than a quarter of its life.
	EventExpiring EventKind = "expiring"
	EventExpired  EventKind = "expired"
	// EventUsedAfterRevoke comes when a secret is presented that was revoked or, after
	// a rotation, is no longer valid; once an hour of a token.
	EventUsedAfterRevoke EventKind = "used_after_revoke"
)

// Event is something that has happened to a token, for others to be told.
type Event struct {
	Kind EventKind
	Time time.Time
	// Token is what the token has become, or was before it was deleted.
	Token *token.Token
	// Actor is who changed it, or empty.
	Actor Actor
	// Within is how long before its end an EventExpiring is: 30 days, 7, or 1.
	Within time.Duration
}

// eventKinds are those of changes, by what the audit calls them.
var eventKinds = map[string]EventKind{
	"create": EventCreated, "import": EventCreated, "rotate": EventRotated, "disable": EventDisabled,
	"enable": EventEnabled,
	"revoke": EventRevoked, "delete": EventDeleted,
}

// tellChange tells of a change that is in force.
func (s *Store) tellChange(now time.Time, old *token.Token, change *Change) {
	kind, ok := eventKinds[change.Audit.Action]
	if !ok {
		return
	}
	token := change.Token
	if token == nil {
		token = old
	}
	s.tell(Event{Kind: kind, Time: now, Token: token,
		Actor: Actor{Name: change.Audit.Actor, Address: change.Audit.Address}})
}

// usedAfterRevoke remembers which tokens were told of in the present hour.
type usedAfterRevoke struct {
	mu   sync.Mutex
	hour int64
	told map[token.ID]bool
}

// maxUsedAfterRevoke bounds the memory of an hour; further tokens are told of in the
// next.
const maxUsedAfterRevoke = 10_000

// first says whether the token wasn't told of in the hour.
func (u *usedAfterRevoke) first(id token.ID, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if hour := now.Unix() / int64(time.Hour/time.Second); hour != u.hour || u.told == nil {
		u.hour, u.told = hour, make(map[token.ID]bool)
	}
	if u.told[id] || len(u.told) >= maxUsedAfterRevoke {
		return false
	}
	u.told[id] = true
	return true
}

// tellUsed tells of the use of a revoked secret.
func (s *Store) tellUsed(m Match, at time.Time) {
	if m.Status != token.StatusRevoked || !s.usedAfterRevoke.first(m.Token.ID, at) {
		return
	}
	if token, err := s.backend.Token(m.Token.ID); err == nil {
		s.tell(Event{Kind: EventUsedAfterRevoke, Time: at, Token: token})
	}
}

// expiryNotices are how long before a token's end it is told of; the last is the end.
var expiryNotices = [...]time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour, 0}

// tellExpiry tells of the tokens that have come near their end, or to it, since it was
// last done, also by another process. Of a token that has passed several notices
// meanwhile only the last is told.
func (s *Store) tellExpiry() error {
	now := s.Now()
	if s.toldExpiry.IsZero() {
		state, err := s.backend.State()
		if err != nil {
			return readError(err)
		}
		told := state.Announced
		if told.IsZero() { // nobody has asked so far: all that comes from here on is told
			return s.setToldExpiry(now)
		}
		s.toldExpiry = told
	}
	if now.Before(s.toldExpiry) { // see AcceptClock
		return s.setToldExpiry(now)
	}
	told := make(map[token.ID]bool)
	var events []Event
	for i := len(expiryNotices) - 1; i >= 0; i-- {
		within := expiryNotices[i]
		last := now.Add(within)
		after := &Position{Time: s.toldExpiry.Add(within), ID: lastID}
		err := s.backend.List(OrderExpires, after, false, func(t *token.Token) bool {
			if t.ExpiresAt.IsZero() || t.ExpiresAt.After(last) {
				return false
			}
			// What was already so when the token was last changed, its admin knows.
			near := token.NearExpiry(t.ValidFrom(), t.ExpiresAt, t.ExpiresAt.Add(-within), time.Time{})
			if status := t.Status(now); !told[t.ID] && near && t.ExpiresAt.Add(-within).After(t.UpdatedAt) &&
				(status == token.StatusActive || status == token.StatusExpired || status == token.StatusNotYetValid) {
				e := Event{Kind: EventExpiring, Time: now, Token: t, Within: within}
				if within == 0 {
					e.Kind = EventExpired
				}
				events = append(events, e)
			}
			told[t.ID] = true
			return true
		})
		if err != nil {
			return readError(err)
		}
	}
	for _, e := range events {
		s.tell(e)
	}
	if len(events) == 0 {
		s.toldExpiry = now // there is nothing to remember
		return nil
	}
	// Only now: one that is killed in between tells again rather than never.
	return s.setToldExpiry(now)
}

// setToldExpiry notes it in memory in any case, so that a store that can't be written
// doesn't tell of a token again and again.
func (s *Store) setToldExpiry(now time.Time) error {
	s.toldExpiry = now
	if err := s.setTimes(State{Announced: now}, nil); err != nil {
		return readError(err)
	}
	return nil
}

// lastID comes after all ids.
var lastID = func() (id token.ID) {
	for i := range id {
		id[i] = 0xff
	}
	return id
}()
