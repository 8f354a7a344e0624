package tokenstore

import "fmt"

// Compact frees the space used by deleted records and returns the store's size in bytes before
// and after. Changes wait until Compact returns; requests don't. If the backend doesn't
// support compaction, the error is [errors.ErrUnsupported].
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
