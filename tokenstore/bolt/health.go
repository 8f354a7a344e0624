package bolt

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/mollygate/mollygate/tokenstore"
)

// health is what is known of the file. It is safe for concurrent use.
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

// deleted notes that a damaged token was deleted.
func (h *health) deleted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.damaged = max(0, h.damaged-1)
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
	present := b.check(h)
	if present == nil && b.writing.TryLock() { // else a write is about to find out
		present = b.checkPlace(h)
		b.writing.Unlock()
	}
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	health := tokenstore.Health{
		Write: b.health.write, Damaged: b.health.damaged, Repairs: b.health.repairs,
		Size: h.size.Load(), DiskFree: diskFree(filepath.Dir(b.path)),
	}
	if present != nil {
		health.Write = present
	}
	if b.health.unrepaired != nil {
		health.Unrepaired = fmt.Errorf("rebuilding the damaged file: %w", b.health.unrepaired)
	}
	return health
}
