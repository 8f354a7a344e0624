package bolt

import (
	"errors"
	"slices"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// diskModel models a file on a disk that loses unsynced writes in a power cut. A failed sync
// also loses the writes before it, as on Linux, which considers their pages clean after the
// failure.
type diskModel struct {
	durable []byte   // content after a power cut
	pending []func() // unsynced writes
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

// checkAfterCut opens a store without its journal and returns the violations that a power cut
// must not cause.
func checkAfterCut(path string, m *backendtest.Model) (found []backendtest.Violation) {
	b, err := Open(path)
	if err != nil {
		return []backendtest.Violation{{Kind: backendtest.OtherError, Text: err.Error()}}
	}
	s, err := modelStore(withoutJournal{b}, testTime)
	if err == nil {
		found = slices.DeleteFunc(m.Check(s),
			func(v backendtest.Violation) bool { return v.Kind == backendtest.UsageUnsaved })
		_ = b.Close() // keeps the store from writing when it is closed
		err = s.Close()
	}
	if err != nil && !errors.Is(err, tokenstore.ErrClosed) {
		found = append(found, backendtest.Violation{Kind: backendtest.OtherError, Text: err.Error()})
	}
	_ = b.Close()
	return found
}
