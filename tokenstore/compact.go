package tokenstore

import "fmt"

// Compact frees the space of deleted records and returns the size of the store in bytes before
// and after. Changes wait until it is done; requests don't. If the backend doesn't support it,
// the error is [errors.ErrUnsupported].
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
