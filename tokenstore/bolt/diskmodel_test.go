package bolt

import (
	"errors"
	"slices"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// diskModel is a disk on which only what was synced survives a power cut. What was written
// before a sync that failed is lost, as on Linux: the system takes those pages for written.
type diskModel struct {
	durable []byte
	pending []func()
}

func (d *diskModel) write(data []byte, offset int64) {
	d.pending = append(d.pending, func() {
		if end := int(offset) + len(data); end > len(d.durable) {
			d.durable = append(d.durable, make([]byte, end-len(d.durable))...)
		}
		copy(d.durable[offset:], data)
	})
}

func (d *diskModel) truncate(size int64) {
	d.pending = append(d.pending, func() {
		if int(size) > len(d.durable) {
			d.durable = append(d.durable, make([]byte, int(size)-len(d.durable))...)
		}
		d.durable = d.durable[:size]
	})
}

func (d *diskModel) sync(failed bool) {
	if !failed {
		for _, change := range d.pending {
			change()
		}
	}
	d.pending = nil
}

// checkAfterCut opens a store without a journal and returns what a power cut doesn't excuse.
func checkAfterCut(path string, m *backendtest.Model) (found []backendtest.Violation) {
	b, err := Open(path)
	if err != nil {
		return []backendtest.Violation{{Kind: backendtest.OtherError, Text: err.Error()}}
	}
	s, err := modelStore(withoutJournal{b}, testTime)
	if err == nil {
		found = slices.DeleteFunc(m.Check(s),
			func(v backendtest.Violation) bool { return v.Kind == backendtest.UsageUnsaved })
		_ = b.Close() // so that closing the store writes nothing
		err = s.Close()
	}
	if err != nil && !errors.Is(err, tokenstore.ErrClosed) {
		found = append(found, backendtest.Violation{Kind: backendtest.OtherError, Text: err.Error()})
	}
	_ = b.Close()
	return found
}
