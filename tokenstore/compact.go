package tokenstore

import "fmt"

// Compact lets the backend give back the space of what was deleted, and returns how many
// bytes the store took before and after. Changes wait meanwhile, and requests don't. The
// error is [errors.ErrUnsupported] for a backend that can't.
func (s *Store) Compact(actor Actor) (before, after int64, err error) {
	if s.closed.Load() {
		return 0, 0, ErrClosed
	}
	if err := actor.authorize(); err != nil {
		return 0, 0, err
	}
	if before, after, err = s.backend.Compact(); err != nil {
		return 0, 0, readError(err)
	}
	entry := AuditEntry{
		Time: s.Now(), Actor: actor.Name, Address: actor.Address, Action: "compact",
		Changes: map[string]string{"bytes": fmt.Sprintf("%d -> %d", before, after)},
	}
	if err := s.setTimes(State{}, &entry); err != nil {
		return 0, 0, readError(err)
	}
	return before, after, nil
}
