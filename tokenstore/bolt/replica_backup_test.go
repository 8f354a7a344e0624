package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// openBackup makes a backup of a replica, checks it and opens it as a store.
func openBackup(t testing.TB, r *Replica) *Backend {
	t.Helper()
	path := saveBackup(t, r)
	if report, err := Check(path); err != nil || len(report.Problems) > 0 {
		t.Fatalf("backup: got problems %q, err %v, want none", report.Problems, err)
	}
	if done, err := Repair(path, testTime); err != nil || len(done.Faults) > 0 {
		t.Fatalf("backup: got faults %q, err %v, want none", done.Faults, err)
	}
	return mustOpen(t, path)
}

func TestReplicaBackup(t *testing.T) {
	t.Parallel()
	r, one, two := usedReplica(t)
	damaged := sharedToken(3, "c")
	entry := tokenstore.AuditEntry{Time: testTime, Action: "create", TokenID: one.ID}
	var audit []Record
	for _, sequence := range []uint64{3, 1 << 60} { // with a gap
		key := auditKey(tokenstore.AuditPosition{Time: entry.Time, Sequence: sequence})
		audit = append(audit, Record{AuditTable, key, tokenstore.EncodeAuditEntry(key, entry)})
	}
	check(t, r.Follow(Update{
		Records: append(audit, tokenRecord(damaged), Record{TokensTable, damaged.ID[:], []byte("x")}),
		Usage:   []NodeUsage{nodeUsage("a", damaged, 5, usedOn(today-1, 1))},
		Note:    []byte("note"),
	}))
	for range 2 { // also after hours have been added up
		b := openBackup(t, r)
		for _, table := range []Table{TokensTable, EndedTable, AuditTable, RequestsTable} {
			if got, want := records(t, b, table), records(t, r.Backend, table); !reflect.DeepEqual(got, want) {
				t.Errorf("table %d: got %v, want %v", table, got, want)
			}
		}
		for _, id := range []token.ID{one.ID, two.ID, damaged.ID} {
			own, _, err := r.Usage(id, today-9, today+9)
			check(t, err)
			want := own.Plus(elsewhere(t, r, id, today-9, today+9))
			if got, _, err := b.Usage(id, today-9, today+9); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("token %s: got usage\n%+v, err %v\nwant\n%+v", id, got, err, want)
			}
			last := want.Days[len(want.Days)-1:]
			if last[0].Whole {
				last = nil // it can't be part of the usage record
			}
			if newest, err := usageOf(b, id); err != nil || !reflect.DeepEqual(newest.Days, last) {
				t.Errorf("token %s: got newest day %+v, err %v, want %+v", id, newest.Days, err, last)
			}
		}
		want, err := r.Totals(today-9, today+9)
		check(t, err)
		if got := totalsOf(t, b); !reflect.DeepEqual(got, want) {
			t.Errorf("got totals\n%+v\nwant\n%+v", got, want)
		}
		refusals, state, err := b.Refusals(one.ID)
		if err != nil || len(refusals) != 1 || state.Flush != 7 {
			t.Errorf("got refusals %+v, state %+v, err %v", refusals, state, err)
		}
		if b.Health().Damaged != 1 || len(b.Health().Repairs) > 0 {
			t.Errorf("got health %+v, want one damaged token and no repairs", b.Health())
		}
		check(t, b.view(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{elsewhereBucket, daysElsewhereBucket, totalsElsewhereBucket, noteBucket} {
				if tx.Bucket(name) != nil {
					t.Errorf("the backup has bucket %q", name)
				}
			}
			return nil
		}))
		// The backup is an ordinary store.
		s := openStore(t, b)
		makeToken(t, s)
		check(t, s.Delete(one.ID, token.AnyVersion, testActor))
		check(t, s.Close())
		if report, err := Check(b.path); err != nil || len(report.Problems) > 0 {
			t.Errorf("got problems %q, err %v after changes, want none", report.Problems, err)
		}
		_, err = r.Prune(tokenstore.Retention{Hours: today + 1, Days: today - 9})
		check(t, err)
	}
	entries, err := os.ReadDir(filepath.Dir(r.path))
	check(t, err)
	if len(entries) != 1 {
		t.Errorf("the directory contains %v, want only the replica", entries)
	}
}

// TestReplicaBackupDamage verifies that a backup doesn't silently lack a damaged record: Backup fails
// and has the replica rebuilt.
func TestReplicaBackupDamage(t *testing.T) {
	t.Parallel()
	for _, bucket := range [][]byte{tokensBucket, digestsBucket, endedBucket, auditBucket, requestsBucket, usageBucket,
		daysBucket, totalsBucket, refusalsBucket, elsewhereBucket, daysElsewhereBucket, totalsElsewhereBucket} {
		t.Run(string(bucket), func(t *testing.T) {
			t.Parallel()
			r, one, _ := usedReplica(t)
			ended := tokenstore.EndedSecret{Digest: token.DigestOf("ended"), At: testTime}
			request := tokenstore.KeptRequest{Key: token.DigestOf("key"), Body: token.DigestOf("body"), ID: one.ID,
				Time: testTime}
			entry := tokenstore.AuditEntry{Time: testTime, TokenID: one.ID}
			key := auditKey(tokenstore.AuditPosition{Time: entry.Time, Sequence: 1})
			u := Update{Complete: true, Records: []Record{
				tokenRecord(one),
				{EndedTable, ended.Digest[:], tokenstore.EncodeEnded(ended)},
				{AuditTable, key, tokenstore.EncodeAuditEntry(key, entry)},
				{RequestsTable, request.Key[:], tokenstore.EncodeRequest(request)},
			}}
			check(t, r.Follow(u))
			damageRecord(t, r.Backend, bucket)
			checkBackupFails(t, r, string(bucket))
			if bucket := string(bucket); bucket == "tokens" || bucket == "digests" {
				if r.Health().Damaged == 0 {
					t.Error("got no damaged token after the rebuild")
				}
			}
			check(t, openBackup(t, r).Close()) // a token that is known as damaged is no obstacle
			check(t, r.Follow(u))
			check(t, openBackup(t, r).Close())
		})
	}
}

// checkBackupFails verifies that Backup fails because of damage in a bucket, and waits until the
// replica is rebuilt.
func checkBackupFails(t *testing.T, r *Replica, bucket string) {
	t.Helper()
	_, _, err := r.Backup()
	if bucket == "digests" {
		bucket = "tokens" // a token needs its digest entry
	}
	if !errors.Is(err, errDamage) || !errors.Is(err, tokenstore.ErrUnavailable) ||
		!strings.Contains(err.Error(), bucket) {
		t.Errorf("got err %v, want damage in bucket %q", err, bucket)
	}
	r.background.group.Wait()
	if repairs := r.Health().Repairs; len(repairs) != 1 || len(repairs[0].Faults) == 0 {
		t.Errorf("got repairs %+v, want one", repairs)
	}
	checkNoteState(t, r, "", false)
	entries, err := os.ReadDir(filepath.Dir(r.path))
	check(t, err)
	if len(entries) != 2 {
		t.Errorf("the directory contains %v, want the replica and the damaged file", entries)
	}
}
