package tokenstore_test

import (
	"sync"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// TestMemory runs backendtest on the backend used by this package's tests.
func TestMemory(t *testing.T) {
	t.Parallel()
	var stores sync.Map // by directory
	store := func(dir string) *tokenstore.Memory {
		store, _ := stores.LoadOrStore(dir, tokenstore.NewMemory(dir))
		return store.(*tokenstore.Memory)
	}
	backendtest.Run(t, backendtest.Kind{
		Open: func(_ testing.TB, dir string) tokenstore.Backend {
			store := store(dir)
			store.Reopen()
			return store
		},
		Kill: func(t testing.TB, dir string) string {
			killed, dir := store(dir).Kill(t)
			stores.Store(dir, killed)
			return dir
		},
		Damage: func(_ testing.TB, b tokenstore.Backend, record backendtest.Record, id token.ID) bool {
			if record == backendtest.AuditRecord {
				return false // memory doesn't store encoded audit entries
			}
			b.(*tokenstore.Memory).Damage(id, record == backendtest.UsageRecord)
			return true
		},
	})
}
