package tokenstore

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
)

func (m *memory) Usage(id token.ID, first, last Day) (Usage, FlushState, error) {
	end, err := m.begin("Usage")
	if err != nil {
		return Usage{}, FlushState{}, err
	}
	defer end()
	used, err := m.usage(id)
	for day := first; day <= last; day++ {
		if saved, ok := m.days[dayOfToken{id, day}]; ok {
			used = used.Plus(Usage{Days: []DayUsage{saved}})
		}
	}
	return used, m.state.Flush, err
}

// saved returns a token's saved usage.
func (m *memory) saved(id token.ID) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage(id)
}

// usage is like saved, but the caller must hold m.mu.
func (m *memory) usage(id token.ID) (Usage, error) {
	record, ok := m.used[id]
	if !ok {
		return Usage{}, nil
	}
	return DecodeUsage(id, record)
}

func (m *memory) SaveUsage(now time.Time, state FlushState, came iter.Seq2[token.ID, Usage]) error {
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
	for id, more := range came {
		if _, ok := m.tokens[id]; !ok {
			continue
		}
		m.addTotals(id, more.Days)
		if len(more.Refusals) > 0 {
			before, _ := DecodeRefusals(id, m.refused[id])
			m.refused[id] = EncodeRefusals(id, MergeRefusals(before, more.Refusals))
		}
		saved, _ := m.usage(id)
		saved = saved.Plus(more)
		m.used[id] = EncodeUsage(id, saved)
		for i := range len(saved.Days) - 1 {
			key := dayOfToken{id, saved.Days[i].Day}
			m.days[key] = saved.Days[i].Plus(m.days[key])
		}
	}
	m.state.Flush = state
	m.record(now)
	m.wrote(m.saveError)
	return m.saveError
}

// addTotals adds to the totals, unless the token is an admin token.
func (m *memory) addTotals(id token.ID, days []DayUsage) {
	if tok, err := token.DecodeToken(id, m.tokens[id]); err != nil || tok.Kind != token.KindAPI {
		return
	}
	for _, day := range days {
		sum := DayUsage{Day: day.Day, Whole: day.Whole}
		for _, p := range day.Points {
			p.Scope = ""
			sum.Add(p)
		}
		if saved, ok := m.totals[day.Day]; ok {
			sum = saved.Plus(sum)
		}
		m.totals[day.Day] = sum
	}
}

func (m *memory) Totals(first, last Day) (days []DayUsage, err error) {
	end, err := m.begin("Totals")
	if err != nil {
		return nil, err
	}
	defer end()
	for _, day := range slices.Sorted(maps.Keys(m.totals)) {
		if day >= first && day <= last {
			days = append(days, m.totals[day])
		}
	}
	return days, nil
}

func (m *memory) Refusals(id token.ID) ([]Refusal, FlushState, error) {
	end, err := m.begin("Refusals")
	if err != nil {
		return nil, FlushState{}, err
	}
	defer end()
	refusals, _ := DecodeRefusals(id, m.refused[id]) // none if there is no record
	return refusals, m.state.Flush, nil
}

func (m *memory) JournalPath() string { return m.journal }

func (m *memory) Compact() (before, after int64, err error) { return 0, 0, errors.ErrUnsupported }

func (m *memory) Health() Health { return Health{DiskFree: -1} }

func (m *memory) Sequence() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sequence
}

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
		{&m.state.Recorded, &times.Recorded},
		{&m.state.Elapsed, &times.Elapsed},
		{&m.state.Announced, &times.Announced},
		{&m.state.BackedUp, &times.BackedUp},
	} {
		if !t.from.IsZero() {
			*t.to = *t.from
		}
	}
	if entry != nil {
		m.audit = append(m.audit, *entry)
	}
	if m.timesError != nil {
		return m.timesError
	}
	if !times.Announced.IsZero() && m.saveError != nil {
		return m.saveError
	}
	m.wrote(nil)
	return nil
}
