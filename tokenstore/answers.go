package tokenstore

import (
	"sync"
	"time"
)

// expiryInterval is how often answers under way are held against their token's
// expiry; contract: they end within a second.
const expiryInterval = 250 * time.Millisecond

// answers are the long answers that have begun: event streams, downloads,
// websockets. They end with their token's validity.
type answers struct {
	mu    sync.Mutex
	begun map[*answer]struct{}
}

type answer struct {
	// digest is of the secret that the answer began with. It may have become the
	// previous one since.
	digest Digest
	end    func()
}

// EndWithToken calls end, once, soon after the matched secret has stopped being
// valid, from a goroutine of the store's or of whoever changes the token: end
// must not block. The caller calls release when its answer is over; an end that
// has already begun may return after it.
func (s *Store) EndWithToken(m Match, end func()) (release func()) {
	a := &answer{digest: m.Digest, end: end}
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	if s.answers.begun == nil {
		s.answers.begun = make(map[*answer]struct{})
	}
	s.answers.begun[a] = struct{}{}
	return func() { s.answers.remove(a) }
}

func (l *answers) remove(a *answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.begun, a)
}

// endInvalid ends the answers whose secret isn't valid at now.
func (l *answers) endInvalid(x *index, now time.Time) {
	l.mu.Lock()
	var over []*answer
	for a := range l.begun {
		var m Match
		if !x.match(&a.digest, now, &m) || m.Status != StatusActive {
			over = append(over, a)
			delete(l.begun, a)
		}
	}
	l.mu.Unlock()
	for _, a := range over {
		a.end()
	}
}
