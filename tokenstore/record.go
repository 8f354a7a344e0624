package tokenstore

// Record adds an entry to the audit log about an action that changes nothing in the store.
func (s *Store) Record(actor Actor, action string) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := actor.authorize(); err != nil {
		return err
	}
	entry := AuditEntry{Time: s.Now(), Actor: actor.Name, Address: actor.Address, Action: action}
	if err := s.setTimes(State{}, &entry); err != nil {
		return readError(err)
	}
	return nil
}
