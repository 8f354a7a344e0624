package tokenstore

import "time"

func (m *memory) Usage(id ID) (UsageOf, error) {
	end, err := m.begin("Usage")
	if err != nil {
		return UsageOf{}, err
	}
	defer end()
	record, ok := m.used[id]
	if !ok {
		return UsageOf{}, nil
	}
	return DecodeUsage(id, record)
}

func (m *memory) Days(id ID, first, last Day, yield func(DayUsage) bool) error {
	end, err := m.begin("Days")
	if err != nil {
		return err
	}
	defer end()
	for day := first; day <= last; day++ {
		if saved, ok := m.days[dayOfToken{id, day}]; ok && !yield(saved) {
			break
		}
	}
	return nil
}

func (m *memory) Counters() Counters {
	if m.outliving == nil {
		return nil
	}
	return outlivingTotals{m}
}

func (m *memory) TendCounters() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tendError
}

// outlivingTotals are memory.outliving; the slots are memory.slots, from 1 on.
type outlivingTotals struct{ m *memory }

func (o outlivingTotals) Take(id ID, totals Usage) (slot uint32) {
	o.m.do(func() {
		o.m.outliving[id] = totals
		o.m.slots = append(o.m.slots, id)
		slot = uint32(len(o.m.slots))
	})
	return slot
}

func (o outlivingTotals) Free(uint32) {}

func (o outlivingTotals) note(slot uint32, u Usage) {
	o.m.do(func() {
		id := o.m.slots[slot-1]
		o.m.outliving[id] = o.m.outliving[id].Larger(u)
	})
}

func (o outlivingTotals) Allowed(slot uint32, total uint64, at int64) bool {
	o.note(slot, Usage{Allowed: total, Last: LastUse{Time: time.UnixMicro(at).UTC()}})
	return true
}

func (o outlivingTotals) Denied(slot uint32, total uint64) { o.note(slot, Usage{Denied: total}) }

func (o outlivingTotals) Saved(_ uint32, u Usage) {
	o.m.do(func() { o.m.toldSaved = append(o.m.toldSaved, u) })
}

func (m *memory) SaveUsage(now time.Time, totals []UsageOf) error {
	if m.beforeSave != nil {
		m.beforeSave()
	}
	end, err := m.begin("SaveUsage")
	if err != nil {
		return err
	}
	defer end()
	if m.saveError != nil {
		return m.saveError
	}
	for _, total := range totals {
		if _, ok := m.tokens[total.ID]; ok {
			stored, err := DecodeUsage(total.ID, m.used[total.ID])
			if err != nil { // there is none
				stored = UsageOf{ID: total.ID}
			}
			total = total.After(stored)
			m.used[total.ID] = EncodeUsage(total)
			for i := range len(total.Days) - 1 {
				day := total.Days[i]
				key := dayOfToken{total.ID, day.Day}
				if saved, ok := m.days[key]; ok {
					day = day.Larger(saved)
				}
				m.days[key] = day
			}
		}
	}
	m.record(now)
	return nil
}
