package tokenstore

import "time"

func (m *memory) Usage(id ID, first, last Day) (UsageOf, FlushState, error) {
	end, err := m.begin("Usage")
	if err != nil {
		return UsageOf{}, FlushState{}, err
	}
	defer end()
	used, err := m.usage(id)
	for day := first; day <= last; day++ {
		if saved, ok := m.days[dayOfToken{id, day}]; ok {
			used = used.Plus(UsageOf{Days: []DayUsage{saved}})
		}
	}
	return used, m.state.Flush, err
}

// saved returns what SaveUsage has saved of a token.
func (m *memory) saved(id ID) (UsageOf, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage(id)
}

// usage is saved with the lock held.
func (m *memory) usage(id ID) (UsageOf, error) {
	record, ok := m.used[id]
	if !ok {
		return UsageOf{ID: id}, nil
	}
	return DecodeUsage(id, record)
}

func (m *memory) SaveUsage(now time.Time, state FlushState, came []UsageOf) error {
	if m.beforeSave != nil {
		m.beforeSave()
	}
	end, err := m.begin("SaveUsage")
	if err != nil {
		return err
	}
	defer end()
	if m.saveError != nil && !m.saves {
		return m.saveError
	}
	for _, more := range came {
		if _, ok := m.tokens[more.ID]; !ok {
			continue
		}
		saved, err := m.usage(more.ID)
		if err != nil {
			saved = UsageOf{ID: more.ID}
		}
		saved = saved.Plus(more)
		m.used[more.ID] = EncodeUsage(saved)
		for i := range len(saved.Days) - 1 {
			key := dayOfToken{more.ID, saved.Days[i].Day}
			m.days[key] = saved.Days[i].Plus(m.days[key])
		}
	}
	m.state.Flush = state
	m.record(now)
	return m.saveError
}

func (m *memory) JournalPath() string { return m.journal }

func (m *memory) State() (State, error) {
	end, err := m.begin("State")
	if err != nil {
		return State{}, err
	}
	defer end()
	return m.state, m.stateError
}

func (m *memory) SetTimes(times State, entry *AuditEntry) error {
	end, err := m.begin("SetTimes")
	if err != nil {
		return err
	}
	defer end()
	for _, t := range []struct{ to, from *time.Time }{
		{&m.state.Recorded, &times.Recorded}, {&m.state.Passed, &times.Passed}, {&m.state.Told, &times.Told},
	} {
		if !t.from.IsZero() {
			*t.to = *t.from
		}
	}
	if entry != nil {
		m.audit = append(m.audit, *entry)
	}
	if times.Told.IsZero() {
		return nil
	}
	return m.saveError
}
