package bolt

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/mollygate/mollygate/tokenstore"
)

// health is the state that Health reports. It is safe for concurrent use.
type health struct {
	mu         sync.Mutex
	write      error
	damaged    int
	repairs    []tokenstore.Repair
	unrepaired error
}

func (h *health) setWrite(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write = err
}

func (h *health) setDamaged(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.damaged = n
}

// addDamaged adds to the number of damaged tokens.
func (h *health) addDamaged(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.damaged = max(0, h.damaged+n)
}

func (h *health) addRepair(r tokenstore.Repair, damaged int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repairs, h.damaged, h.unrepaired = append(h.repairs, r), damaged, nil
}

func (h *health) setUnrepaired(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unrepaired = err
}

// Health implements tokenstore.Backend.
func (b *Backend) Health() tokenstore.Health {
	h := b.current.Load()
	unusable := b.check(h)
	if unusable == nil && b.writing.TryLock() { // otherwise the write in progress checks this
		unusable = b.checkPath(h)
		b.writing.Unlock()
	}
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	health := tokenstore.Health{
		Write: b.health.write, Damaged: b.health.damaged, Repairs: b.health.repairs,
		Size: h.size.Load(), DiskFree: diskFree(filepath.Dir(b.path)),
	}
	if unusable != nil {
		health.Write = unusable
	}
	if b.health.unrepaired != nil {
		health.Unrepaired = fmt.Errorf("rebuilding the damaged file: %w", b.health.unrepaired)
	}
	return health
}
