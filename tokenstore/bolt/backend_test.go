package bolt

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

func TestBackend(t *testing.T) {
	t.Parallel()
	inDir := func(dir string) string { return filepath.Join(dir, "tokens.db") }
	backendtest.Run(t, backendtest.Kind{
		Open: func(t testing.TB, dir string) tokenstore.Backend { return mustOpen(t, inDir(dir)) },
		Kill: func(t testing.TB, dir string) string { return filepath.Dir(copied(t, inDir(dir))) },
		Restore: func(t testing.TB, backup io.Reader, dir string) {
			content, err := io.ReadAll(backup)
			check(t, err)
			check(t, os.WriteFile(inDir(dir), content, fileMode))
		},
		Check: func(t testing.TB, dir string) {
			if report, err := Check(inDir(dir)); err != nil || len(report.Problems) > 0 {
				t.Errorf("Check: got problems %v, err %v, want none", report.Problems, err)
			}
			checkConsistent(t, mustOpen(t, inDir(dir)))
		},
		Damage: func(t testing.TB, b tokenstore.Backend, record backendtest.Record, id token.ID) bool {
			check(t, b.(*Backend).update(func(tx *bbolt.Tx) error {
				bucket := tx.Bucket(map[backendtest.Record][]byte{
					backendtest.TokenRecord: tokensBucket, backendtest.UsageRecord: usageBucket,
					backendtest.AuditRecord: auditBucket,
				}[record])
				key := id[:]
				if record == backendtest.AuditRecord {
					key, _ = bucket.Cursor().Last()
				}
				value := bytes.Clone(bucket.Get(key))
				value[0] ^= 1
				return bucket.Put(key, value)
			}))
			return true
		},
		PruneLimit: pruneLimit,
	})
}
