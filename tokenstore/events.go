package tokenstore

import (
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// EventKind is a kind of event.
type EventKind string

// The kinds of events.
const (
	EventCreated  EventKind = "created" // includes imports
	EventRotated  EventKind = "rotated"
	EventDisabled EventKind = "disabled"
	EventEnabled  EventKind = "enabled"
	EventRevoked  EventKind = "revoked"
	EventDeleted  EventKind = "deleted"
	// EventExpiring is published 30 days, 7 days and 1 day before the token expires, but only
	// in the last quarter of its lifetime.
	EventExpiring EventKind = "expiring"
	EventExpired  EventKind = "expired"
	// EventUsedAfterRevoke is published when a request presents a secret that was revoked or
	// replaced by a rotation and is no longer valid. It is published at most once per token
	// per hour.
	EventUsedAfterRevoke EventKind = "used_after_revoke"
)

// Event is an event in a token's life, such as its creation or expiry.
type Event struct {
	Kind EventKind
	Time time.Time
	// Token is the token after the event, or before the event if it was deleted.
	Token *token.Token
	// Actor identifies who changed the token. It is zero if the event isn't a change.
	Actor Actor
	// Within is how long before the expiry an EventExpiring was due: 30 days, 7 days or 1 day.
	Within time.Duration
}

// eventKinds maps the audit actions of changes to their events.
var eventKinds = map[string]EventKind{
	"create": EventCreated, "import": EventCreated, "rotate": EventRotated, "disable": EventDisabled,
	"enable": EventEnabled,
	"revoke": EventRevoked, "delete": EventDeleted,
}

// publishChange publishes the event for a change that is already in effect.
func (s *Store) publishChange(now time.Time, old *token.Token, change *Change) {
	kind, ok := eventKinds[change.Audit.Action]
	if !ok {
		return
	}
	token := change.Token
	if token == nil {
		token = old
	}
	s.publish(Event{Kind: kind, Time: now, Token: token,
		Actor: Actor{Name: change.Audit.Actor, Address: change.Audit.Address}})
}

// usedAfterRevoke records the tokens for which an event was published in the current hour.
type usedAfterRevoke struct {
	mu   sync.Mutex
	hour int64
	seen map[token.ID]bool
}

// maxUsedAfterRevoke is the maximum number of tokens recorded per hour, to limit memory use.
// For further tokens, no event is published until the next hour.
const maxUsedAfterRevoke = 10_000

// first reports whether this is the token's first use after revocation in the current hour.
func (u *usedAfterRevoke) first(id token.ID, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if hour := now.Unix() / int64(time.Hour/time.Second); hour != u.hour || u.seen == nil {
		u.hour, u.seen = hour, make(map[token.ID]bool)
	}
	if u.seen[id] || len(u.seen) >= maxUsedAfterRevoke {
		return false
	}
	u.seen[id] = true
	return true
}

// publishUsedAfterRevoke publishes an event if the matched secret is revoked.
func (s *Store) publishUsedAfterRevoke(m Match, at time.Time) {
	if m.Status != token.StatusRevoked || !s.usedAfterRevoke.first(m.Token.ID, at) {
		return
	}
	if token, err := s.backend.Token(m.Token.ID); err == nil {
		s.publish(Event{Kind: EventUsedAfterRevoke, Time: at, Token: token})
	}
}

// expiryNotices are the times before a token's expiry at which an event is published. The last
// is the expiry itself.
var expiryNotices = [...]time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour, 0}

// publishExpiry publishes events for tokens that have reached one of the expiryNotices since
// the last check, even if an earlier process made that check. If a token has reached several
// notices, only the last one is published.
func (s *Store) publishExpiry() error {
	now := s.Now()
	if s.announced.IsZero() {
		state, err := s.backend.State()
		if err != nil {
			return readError(err)
		}
		announced := state.Announced
		if announced.IsZero() { // never checked before: announce from now on
			return s.setAnnounced(now)
		}
		s.announced = announced
	}
	claimed, err := s.announcedElsewhere()
	if err != nil {
		return err
	}
	if now.Before(s.announced) { // the clock was set back; see AcceptClock
		if s.shared != nil {
			return nil // another node's clock may be ahead
		}
		return s.setAnnounced(now)
	}
	seen := make(map[token.ID]bool)
	var events []Event
	for i := len(expiryNotices) - 1; i >= 0; i-- {
		within := expiryNotices[i]
		last := now.Add(within)
		after := &Position{Time: s.announced.Add(within), ID: lastID}
		err := s.backend.List(OrderExpires, after, false, func(t *token.Token) bool {
			if t.ExpiresAt.IsZero() || t.ExpiresAt.After(last) {
				return false
			}
			// Skip a notice that was already due when the token was last changed: the admin
			// who changed it saw the expiry.
			near := token.NearExpiry(t.ValidFrom(), t.ExpiresAt, t.ExpiresAt.Add(-within), time.Time{})
			if status := t.Status(now); !seen[t.ID] && near && t.ExpiresAt.Add(-within).After(t.UpdatedAt) &&
				(status == token.StatusActive || status == token.StatusExpired || status == token.StatusNotYetValid) {
				e := Event{Kind: EventExpiring, Time: now, Token: t, Within: within}
				if within == 0 {
					e.Kind = EventExpired
				}
				events = append(events, e)
			}
			seen[t.ID] = true
			return true
		})
		if err != nil {
			return readError(err)
		}
	}
	if len(events) == 0 {
		s.announced = now // not worth a write
		return nil
	}
	if s.shared != nil {
		// One node publishes the events. If it is killed before that, they are lost rather
		// than published by every node.
		won, err := s.shared.Announce(claimed, now)
		if err != nil || !won {
			return err
		}
		s.announced = now
	}
	for _, e := range events {
		s.publish(e)
	}
	if s.shared != nil {
		return nil
	}
	// Store the time last: if the process is killed before that, events are repeated rather
	// than lost.
	return s.setAnnounced(now)
}

// announcedElsewhere returns the time up to which the nodes of a shared store have published
// events, and raises s.announced to it.
func (s *Store) announcedElsewhere() (time.Time, error) {
	if s.shared == nil {
		return time.Time{}, nil
	}
	state, err := s.backend.State()
	if err != nil {
		return time.Time{}, readError(err)
	}
	if state.Announced.After(s.announced) {
		s.announced = state.Announced
	}
	return state.Announced, nil
}

// setAnnounced records the time of the check. It updates the time in memory even if the store
// can't be written. Otherwise every check would publish the same events again.
func (s *Store) setAnnounced(now time.Time) error {
	s.announced = now
	if err := s.setTimes(State{Announced: now}, nil); err != nil {
		return readError(err)
	}
	return nil
}

// lastID is greater than all IDs.
var lastID = func() (id token.ID) {
	for i := range id {
		id[i] = 0xff
	}
	return id
}()
