package tokenstore

import "time"

func (m *memory) RecordedTime() (time.Time, error) {
	end, err := m.begin("RecordedTime")
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	return m.recorded, nil
}

func (m *memory) SetRecordedTime(now time.Time, entry AuditEntry) error {
	end, err := m.begin("SetRecordedTime")
	if err != nil {
		return err
	}
	defer end()
	m.recorded, m.passed = now, now
	m.audit = append(m.audit, entry)
	return nil
}

func (m *memory) PassedTime() (time.Time, error) {
	m.mu.Lock() // and isn't counted, as pruning isn't
	defer m.mu.Unlock()
	return m.passed, nil
}

func (m *memory) SetPassedTime(passed time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.passed = passed
	return nil
}

func (m *memory) ToldTime() (time.Time, error) {
	end, err := m.begin("ToldTime")
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	return m.told, nil
}

func (m *memory) SetToldTime(told time.Time) error {
	end, err := m.begin("SetToldTime")
	if err != nil {
		return err
	}
	defer end()
	m.told = told
	return m.saveError
}
